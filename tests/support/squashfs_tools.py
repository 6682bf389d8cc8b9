"""Squashfs images for tests: a tiny packer, the tools that read images back, and trees as comparable rows."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import time
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
from backports import zstd

from sifmake.flatten.tree import Tree
from sifmake.layers.entry import BLOCK, CHAR, DIR, FIFO, FILE, SOCKET, SYMLINK, Inode
from sifmake.squashfs import Fragment, Placement, SquashfsOptions, Tables, draft_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

MTIME = 1_600_000_000
UNCOMPRESSED = 1 << 24
LETTERS = {DIR: "d", FILE: "f", SYMLINK: "l", BLOCK: "b", CHAR: "c", FIFO: "p", SOCKET: "s"}
TYPES = {
    stat.S_IFDIR: "d",
    stat.S_IFREG: "f",
    stat.S_IFLNK: "l",
    stat.S_IFBLK: "b",
    stat.S_IFCHR: "c",
    stat.S_IFIFO: "p",
    stat.S_IFSOCK: "s",
}
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda block: zlib.compress(block, 6),
    "zstd": lambda block: zstd.compress(block, 6),
}

Xattrs = tuple[tuple[bytes, bytes], ...]


class Row(NamedTuple):
    """What one name of a tree says; ``group`` is the first name of its hard links, ``size`` of directories 0."""

    type: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    links: int
    target: bytes
    device: int
    xattrs: Xattrs
    sha256: str
    group: bytes


Rows = dict[bytes, Row]


def needs_kernel(test):
    """Mark a test that mounts with the kernel; it is skipped without root or without loop devices."""
    missing = os.geteuid() != 0 or not os.path.exists("/dev/loop-control")
    return pytest.mark.kernel(pytest.mark.skipif(missing, reason="mounting needs root and loop devices")(test))


def needs_tools(*names: str):
    """Return the mark for a test that runs squashfs tools; it is skipped where one is missing."""
    missing = [name for name in names if shutil.which(name) is None]

    def mark(test):
        return pytest.mark.squashfs_tools(pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}")(test))

    return mark


class Builder:
    """A tree and the data region of its files, put together piece by piece."""

    def __init__(self, *, compression: str = "gzip", block_size: int = 131072, start: int = 96) -> None:
        self.options = SquashfsOptions(compression=compression, block_size=block_size)  # type: ignore[arg-type]
        self.compress = COMPRESSORS[compression]
        self.root = Inode(b"", DIR, 0o755, 0, 0, MTIME, children={})
        self.start = start
        self.data = bytearray()
        self.contents: list[bytes] = []
        self.placements: list[Placement] = []
        self.fragments: list[Fragment] = []
        self._tails = bytearray()

    @property
    def tree(self) -> Tree:
        return Tree(self.root)

    def add(self, path: bytes | str, kind: int = FILE, data: bytes = b"", **fields: object) -> Inode:
        """Add an entry; directories above it are made when they are missing."""
        path = os.fsencode(path)
        values = {"mode": 0o755 if kind == DIR else 0o644, "uid": 0, "gid": 0, "mtime": MTIME, **fields}
        inode = Inode(path, kind, children={} if kind == DIR else None, size=len(data), **values)  # type: ignore[arg-type]
        if data:
            inode.content = self.content(data)
        return self.link(path, inode)

    def link(self, path: bytes | str, inode: Inode) -> Inode:
        """Put an inode under one more name."""
        *above, name = os.fsencode(path).split(b"/")
        here = self.root
        for part in above:
            assert here.children is not None
            here = here.children.get(part) or here.children.setdefault(
                part, Inode(part, DIR, 0o755, 0, 0, MTIME, children={})
            )
        assert here.children is not None
        here.children[name] = inode
        return inode

    def content(self, data: bytes) -> int:
        """Store the bytes of a file and return their number."""
        size = self.options.block_size
        start, words, sparse = self.end, [], 0
        full = len(data) - len(data) % size
        for at in range(0, full, size):
            block = data[at : at + size]
            if block.count(0) == size:
                words.append(0)
                sparse += size
            else:
                words.append(self._store(block))
        fragment, offset = self._tail(data[full:])
        blocks = b"".join(word.to_bytes(4, "little") for word in words)
        self.contents.append(data)
        self.placements.append(Placement(start, blocks, fragment, offset, sparse))
        return len(self.contents) - 1

    def _tail(self, tail: bytes) -> tuple[int, int]:
        if not tail:
            return -1, 0
        if len(self._tails) + len(tail) > self.options.block_size:
            self._flush()
        offset = len(self._tails)
        self._tails += tail
        return len(self.fragments), offset

    def _store(self, block: bytes) -> int:
        packed = self.compress(block)
        self.data += packed if len(packed) < len(block) else block
        return len(packed) if len(packed) < len(block) else len(block) | UNCOMPRESSED

    def _flush(self) -> None:
        if self._tails:
            start = self.end
            self.fragments.append(Fragment(start, self._store(bytes(self._tails))))
            self._tails.clear()

    @property
    def end(self) -> int:
        """Where the data region ends."""
        return self.start + len(self.data)

    def tables(self) -> Tables:
        """Close the data region and build what surrounds it."""
        self._flush()
        place = self.placements
        draft = draft_tables(
            self.tree, lambda inode: place[inode.content], len(self.fragments), self.compress, self.options
        )
        return draft.finish(self.fragments, self.end)

    def write(self, path: Path) -> Tables:
        """Write the whole image; a hole reaches from the superblock to the start of the data."""
        tables = self.tables()
        with path.open("wb") as file:
            file.write(tables.superblock)
            file.seek(self.start)
            file.write(self.data + tables.tail)
        return tables

    def rows(self) -> Rows:
        """Return what every reader must find: Linux's view of the tree, from the tree alone."""
        paths = list(self.tree.walk())
        links: dict[int, list[bytes]] = {}
        for path, inode in paths:
            links.setdefault(id(inode), []).append(path)
        return {path: self._row(inode, links[id(inode)]) for path, inode in paths}

    def _row(self, inode: Inode, names: list[bytes]) -> Row:
        data = self.contents[inode.content] if inode.content >= 0 else b""
        subdirectories = sum(child.kind == DIR for child in (inode.children or {}).values())
        is_device = inode.kind in (BLOCK, CHAR)
        return Row(
            LETTERS[inode.kind],
            0o777 if inode.kind == SYMLINK else inode.mode,
            inode.uid,
            inode.gid,
            min(max(inode.mtime, 0), 2**32 - 1),
            len(inode.target) if inode.kind == SYMLINK else len(data),
            2 + subdirectories if inode.kind == DIR else len(names),
            inode.target,
            os.makedev(inode.major, inode.minor) if is_device else 0,
            tuple(sorted(pair for pair in inode.xattrs if pair[0].startswith((b"user.", b"trusted.", b"security.")))),
            hashlib.sha256(data).hexdigest() if inode.kind == FILE else "",
            min(names),
        )


def read_rows(top: Path) -> Rows:
    """Return the rows of a mounted or extracted tree, with all extended attributes that root can see."""
    found: list[tuple[bytes, os.stat_result]] = []
    stack = [b""]
    base = os.fsencode(top)
    while stack:
        path = stack.pop()
        full = os.path.join(base, path) if path else base
        status = os.lstat(full)
        found.append((path, status))
        if stat.S_ISDIR(status.st_mode):
            stack += [path + b"/" + name if path else name for name in os.listdir(full)]
    groups: dict[int, bytes] = {}
    for path, status in sorted(found):
        groups.setdefault(status.st_ino, path)
    return {path: _row_at(os.path.join(base, path) if path else base, s, groups[s.st_ino]) for path, s in sorted(found)}


def _row_at(full: bytes, status: os.stat_result, group: bytes) -> Row:
    kind = TYPES[stat.S_IFMT(status.st_mode)]
    xattrs = [(os.fsencode(name), _getxattr(full, name)) for name in _listxattr(full)]
    return Row(
        kind,
        0o777 if kind == "l" else stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        int(status.st_mtime),
        0 if kind == "d" else status.st_size,
        status.st_nlink,
        os.readlink(full) if kind == "l" else b"",
        status.st_rdev if kind in "bc" else 0,
        tuple(sorted(xattrs)),
        _digest(full) if kind == "f" else "",
        group,
    )


def _listxattr(full: bytes) -> list[str]:
    try:
        return os.listxattr(full, follow_symlinks=False)
    except OSError as error:
        # An image without an xattr table is mounted without xattr support.
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


def _getxattr(full: bytes, name: str) -> bytes:
    return os.getxattr(full, name, follow_symlinks=False)


def _digest(full: bytes) -> str:
    with open(full, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def kernel_mount(image: Path, at: Path) -> Iterator[Path]:
    """Mount an image with the kernel, read-only."""
    at.mkdir(exist_ok=True)
    result = subprocess.run(["mount", "-t", "squashfs", "-o", "loop,ro", image, at], capture_output=True, check=False)
    if result.returncode:
        raise AssertionError(f"the kernel refuses {image}: {result.stderr.decode()} {_kernel_log()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def _kernel_log() -> str:
    lines = subprocess.run(["dmesg"], capture_output=True, check=False).stdout.decode(errors="replace").splitlines()
    return " | ".join([line for line in lines if "SQUASHFS" in line][-3:])


@contextmanager
def fuse_mount(image: Path, at: Path) -> Iterator[Path]:
    """Mount an image with squashfuse."""
    at.mkdir(exist_ok=True)
    subprocess.run(["squashfuse", image, at], check=True, capture_output=True)
    try:
        yield at
    finally:
        for _ in range(50):
            if subprocess.run(["umount", at], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.05)


def unsquashfs(*arguments: str | Path) -> str:
    """Run unsquashfs and return what it prints; any complaint fails."""
    result = subprocess.run(["unsquashfs", "-n", *arguments], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode(errors="replace")
    assert not result.stderr, result.stderr.decode(errors="replace")
    return result.stdout.decode("utf-8", "surrogateescape")


def extract(image: Path, to: Path) -> Path:
    """Unpack an image with unsquashfs as root."""
    unsquashfs("-q", "-d", to, image)
    return to


def superblock_lines(image: Path) -> list[str]:
    """Return what ``unsquashfs -s`` says."""
    return unsquashfs("-s", image).splitlines()


def without(rows: Mapping[bytes, Row], **fields: object) -> Rows:
    """Return rows with some fields replaced, for readers that do not show them."""
    return {path: row._replace(**fields) for path, row in rows.items()}  # type: ignore[arg-type]
