"""Write a tree into a folder: a sandbox, as far as the user's rights allow."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.layers.codec import BLOCK_SIZE
from sifmake.layers.entry import BLOCK, CHAR, DIR, FIFO, FILE, SOCKET, SYMLINK

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.layers.entry import Inode
    from sifmake.steps.stage_tree import StageTree

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ZEROS = bytes(BLOCK_SIZE)
_LATEST = (1 << 32) - 1
"""Range of times, in seconds, that squashfs and every file system can store."""
_REFUSALS = frozenset({errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.EOVERFLOW, errno.EACCES})


@dataclass(frozen=True)
class Rights:
    """What the writer of a folder may do.

    Attributes:
        owners: Whether files can be given to others.
        devices: Whether device nodes can be made.
    """

    owners: bool
    devices: bool


def own_rights() -> Rights:
    """Return the rights of this process: both as root, else none."""
    root = os.geteuid() == 0
    return Rights(root, root)


@dataclass
class LeftOut:
    """The parts of a tree that a folder lacks.

    Attributes:
        owners: Paths of files that have another owner in the tree.
        devices: Paths of device nodes.
        attributes: Paths of files that lost an extended attribute.
    """

    owners: list[bytes] = field(default_factory=list)
    devices: list[bytes] = field(default_factory=list)
    attributes: list[bytes] = field(default_factory=list)


def write_folder(tree: StageTree, folder: Path, rights: Rights) -> LeftOut:
    """Write a tree into an empty folder that no one else can enter.

    Args:
        tree: The tree.
        folder: Path of the folder.
        rights: The writer's rights.

    Returns:
        What could not be written.

    Raises:
        PackDamagedError: A pack is damaged.
        OSError: Writing failed.
    """
    return _Writer(tree, folder, rights).write()


class _Writer:
    def __init__(self, tree: StageTree, folder: Path, rights: Rights) -> None:
        self._tree = tree
        self._folder = folder
        self._rights = rights
        self._left_out = LeftOut()

    def write(self) -> LeftOut:
        folders = [(path, inode) for path, inode in self._tree.tree.walk() if inode.kind == DIR]
        for path, _ in folders[1:]:
            self._at(path).mkdir(0o700)
        for inode, names in self._tree.in_pack_order():
            self._write_file(inode, names)
        self._write_others()
        for path, inode in reversed(folders):
            self._describe(path, inode)
        return self._left_out

    def _at(self, path: bytes) -> Path:
        return self._folder / os.fsdecode(path) if path else self._folder

    def _write_file(self, inode: Inode, names: list[bytes]) -> None:
        first = self._at(names[0])
        with os.fdopen(os.open(first, _NEW, 0o600), "wb", buffering=0) as file:
            try:
                for piece in self._tree.pieces(inode):
                    if len(piece) == BLOCK_SIZE and piece == _ZEROS:
                        file.seek(BLOCK_SIZE, os.SEEK_CUR)
                    else:
                        _write_all(file.fileno(), piece)
                file.truncate(inode.size)
            except OSError as error:
                error.filename = error.filename or str(first)
                raise
        self._describe(names[0], inode)
        for name in names[1:]:
            os.link(first, self._at(name), follow_symlinks=False)

    def _write_others(self) -> None:
        made: dict[int, Path] = {}
        for path, inode in self._tree.tree.walk():
            if inode.kind in (DIR, FILE):
                continue
            known = made.get(id(inode))
            if known is not None:
                os.link(known, self._at(path), follow_symlinks=False)
            elif self._write_other(path, inode):
                made[id(inode)] = self._at(path)
                self._describe(path, inode)

    def _write_other(self, path: bytes, inode: Inode) -> bool:
        at = self._at(path)
        if inode.kind == SYMLINK:
            at.symlink_to(os.fsdecode(inode.target))
        elif inode.kind == FIFO:
            os.mkfifo(at, 0o600)
        elif inode.kind in (CHAR, BLOCK) and self._rights.devices:
            kind = stat.S_IFCHR if inode.kind == CHAR else stat.S_IFBLK
            os.mknod(at, kind | 0o600, os.makedev(inode.major, inode.minor))
        else:
            if inode.kind != SOCKET:
                self._left_out.devices.append(path)
            return False
        return True

    def _describe(self, path: bytes, inode: Inode) -> None:
        """Set owner, mode, extended attributes and time of a file, in an order in which none resets another."""
        at = self._at(path)
        if inode.uid or inode.gid or self._rights.owners:
            self._give(at, path, inode)
        if inode.kind != SYMLINK:
            at.chmod(inode.mode)
        for name, value in inode.xattrs:
            self._set_attribute(at, path, name, value)
        time = min(max(inode.mtime, 0), _LATEST) * 10**9
        os.utime(at, ns=(time, time), follow_symlinks=False)

    def _give(self, at: Path, path: bytes, inode: Inode) -> None:
        if not self._rights.owners:
            self._left_out.owners.append(path)
            return
        try:
            os.chown(at, inode.uid, inode.gid, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            self._left_out.owners.append(path)

    def _set_attribute(self, at: Path, path: bytes, name: bytes, value: bytes) -> None:
        try:
            os.setxattr(at, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _REFUSALS:
                raise
            self._left_out.attributes.append(path)


def _write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
