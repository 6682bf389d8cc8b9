"""All limits of squashfs 4.0 and Linux for a tree, checked before a byte is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import SquashfsError
from sifmake.flatten.tree import join
from sifmake.layers.entry import BLOCK, CHAR, DIR, FILE, SYMLINK, Inode
from sifmake.squashfs.format import (
    MAX_32,
    MAX_IDS,
    MAX_MAJOR,
    MAX_MINOR,
    MAX_NAME,
    MAX_SYMLINK,
    MAX_XATTR_LIST,
    MAX_XATTR_NAME,
    MAX_XATTR_VALUE,
)
from sifmake.squashfs.paths import first_path, shown_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sifmake.flatten.tree import Tree


def check_names(path: bytes, names: list[bytes]) -> None:
    """Check the sorted names of one directory.

    Raises:
        SquashfsError: A name is too long, empty, special, or holds a slash or a zero byte.
    """
    if not names:
        return
    together = b"".join(names)
    if together.find(b"/") >= 0 or together.find(b"\0") >= 0 or not names[0] or max(map(len, names)) > MAX_NAME:
        _refuse_name(path, next(name for name in names if not _is_name(name)))
    # "." and ".." are among the few names that begin with a byte up to 0x2e.
    for name in names:
        if name > b"..":
            break
        if name in (b".", b".."):
            _refuse_name(path, name)


def _is_name(name: bytes) -> bool:
    return 0 < len(name) <= MAX_NAME and b"/" not in name and b"\0" not in name


def _refuse_name(path: bytes, name: bytes) -> None:
    where = shown_path(join(path, name))
    if len(name) > MAX_NAME:
        what = f"a name has {len(name)} bytes, squashfs allows {MAX_NAME}"
        raise SquashfsError(what, where=where, hint="rename the file in the image")
    raise SquashfsError(f"{name!r} cannot be the name of a file", where=where, hint="rename the file in the image")


def check_inodes(tree: Tree, inodes: Sequence[Inode]) -> None:
    """Check a tree's inodes, except for owners and extended attributes.

    Raises:
        SquashfsError: A symlink's target, a device number or a kind is out of range.
    """
    for inode in [inode for inode in inodes if not DIR <= inode.kind <= FILE]:
        kind = inode.kind
        if kind == SYMLINK:
            if not 0 < len(inode.target) <= MAX_SYMLINK or b"\0" in inode.target:
                _refuse(tree, inode, f"a symlink's target must have 1 to {MAX_SYMLINK} bytes, none of them zero")
        elif kind in (CHAR, BLOCK):
            if not (0 <= inode.major <= MAX_MAJOR and 0 <= inode.minor <= MAX_MINOR):
                _refuse(tree, inode, f"device {inode.major}:{inode.minor} is beyond Linux's {MAX_MAJOR}:{MAX_MINOR}")
        elif not 0 < kind <= 7:
            _refuse(tree, inode, f"an entry of kind {kind} is not an inode")


def check_owners(tree: Tree, inodes: Sequence[Inode]) -> list[int]:
    """Return all numeric owners and groups in use, ascending.

    Raises:
        SquashfsError: One does not fit into 32 bits, or there are more than 65,535.
    """
    ids = sorted({inode.uid for inode in inodes} | {inode.gid for inode in inodes})
    if ids[0] < 0 or ids[-1] > MAX_32:
        bad = next(i for i in inodes if not (0 <= i.uid <= MAX_32 and 0 <= i.gid <= MAX_32))
        _refuse(tree, bad, f"owner {bad.uid}:{bad.gid} does not fit into 32 bits")
    if len(ids) > MAX_IDS:
        what = f"the image has {len(ids)} different owners and groups, squashfs allows {MAX_IDS}"
        raise SquashfsError(what, where=_path_of_last_id(tree), hint="use fewer of them in the image")
    return ids


def _path_of_last_id(tree: Tree) -> str:
    seen: set[int] = set()

    def is_one_too_many(inode: Inode) -> bool:
        seen.update((inode.uid, inode.gid))
        return len(seen) > MAX_IDS

    return first_path(tree, is_one_too_many)


def check_xattrs(tree: Tree, inodes: Sequence[Inode]) -> None:
    """Check extended attributes against the limits of Linux, xattr(7).

    Raises:
        SquashfsError: A name has more than 255 bytes, a value or a list of names more than 65,536.
    """
    for xattrs in {inode.xattrs for inode in inodes if inode.xattrs}:
        for name, value in xattrs:
            if len(name) > MAX_XATTR_NAME or len(value) > MAX_XATTR_VALUE:
                what = f"extended attribute {show_key(name)} has {len(name)} + {len(value)} bytes"
                _refuse_xattrs(tree, xattrs, f"{what}, Linux reads {MAX_XATTR_NAME} + {MAX_XATTR_VALUE}")
        if sum(len(name) + 1 for name, _ in xattrs) > MAX_XATTR_LIST:
            _refuse_xattrs(tree, xattrs, f"the names of extended attributes exceed {MAX_XATTR_LIST} bytes")


def show_key(name: bytes) -> str:
    """Return the name of an extended attribute as text, cut if it is absurdly long."""
    text = name.decode("utf-8", "backslashreplace")
    return text if len(text) <= MAX_XATTR_NAME else text[:40] + "..."


def clamped_times(tree: Tree, inodes: Sequence[Inode]) -> tuple[str, ...]:
    """Return a warning with the first time that squashfs cannot store and the number of such times, or nothing."""
    times = [inode.mtime for inode in inodes]
    if min(times) >= 0 and max(times) <= MAX_32:
        return ()
    count = len({id(inode) for inode in inodes if not 0 <= inode.mtime <= MAX_32})
    first = first_path(tree, lambda inode: not 0 <= inode.mtime <= MAX_32)
    return (
        f"{first}: time before 1970 or after 2106 changed to the nearest time that squashfs can store ({count} in all)",
    )


def _refuse_xattrs(tree: Tree, xattrs: tuple[tuple[bytes, bytes], ...], what: str) -> None:
    _refuse(tree, next(inode for _, inode in tree.walk() if inode.xattrs == xattrs), what)


def _refuse(tree: Tree, bad: Inode, what: str) -> None:
    raise SquashfsError(what, where=first_path(tree, lambda inode: inode is bad), hint="change it in the image")
