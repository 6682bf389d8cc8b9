"""Tar streams of trees that are not layers: a folder of the host, the root file system of a SIF file."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from sifmake.errors import SourceError
from sifmake.layers.entry import BLOCK, CHAR, DIR, FIFO, FILE, HARDLINK, SYMLINK, Entry
from sifmake.layers.tar_writer import tar_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sifmake.squashfs.node import Node
    from sifmake.squashfs.reader import SquashfsReader

_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHAR,
    stat.S_IFBLK: BLOCK,
    stat.S_IFIFO: FIFO,
}
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 1 << 20
_OF_FILES = ("user.", "security.capability", "trusted.")
"""Extended attributes with a meaning in an image; others are those of the machine and its file systems."""
_OVERLAYS = ("user.overlay.", "trusted.overlay.")


def folder_stream(folder: Path) -> Iterator[bytes]:
    """Yield a tar stream of a folder of the host; sockets are left out.

    As root, owners are those of the files; for other users, root owns everything, because all files would be their own.

    Raises:
        SourceError: A file changed while it was read.
        OSError: One cannot be read.
    """
    root = os.geteuid() == 0
    return tar_stream(_host_entries(folder, owners=root))


def locked_folder_stream(folder: Path) -> Iterator[bytes]:
    """Yield a tar stream of a folder of a project, which depends neither on times nor on who checked the project out.

    Owners are those of the files if root reads a folder that belongs to root, else root; all times are 1970.

    Raises:
        SourceError: Like :func:`folder_stream`.
    """
    owners = os.geteuid() == 0 and folder.stat().st_uid == 0
    return tar_stream(_timeless(_host_entries(folder, owners=owners)))


def _timeless(found: Iterator[tuple[Entry, Iterable[bytes]]]) -> Iterator[tuple[Entry, Iterable[bytes]]]:
    for entry, content in found:
        entry.mtime = 0
        entry.xattrs = tuple(one for one in entry.xattrs if not one[0].startswith(b"trusted."))  # only root sees these
        yield entry, content


def _host_entries(folder: Path, *, owners: bool) -> Iterator[tuple[Entry, Iterable[bytes]]]:
    first: dict[tuple[int, int], bytes] = {}
    stack = [b""]
    while stack:
        path = stack.pop()
        at = folder / os.fsdecode(path) if path else folder
        status = at.lstat() if path else at.stat()
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            continue
        known = first.setdefault((status.st_dev, status.st_ino), path) if status.st_nlink > 1 else path
        if kind != DIR and known != path:
            yield Entry(path, HARDLINK, 0, 0, 0, 0, target=known), ()
            continue
        yield _host_entry(at, path, kind, status, owners=owners), _read_file(at, status) if kind == FILE else ()
        if kind == DIR:
            prefix = path + b"/" if path else b""
            names = sorted((os.fsencode(one.name) for one in at.iterdir()), reverse=True)
            stack.extend(prefix + name for name in names)


def _host_entry(at: Path, path: bytes, kind: int, status: os.stat_result, *, owners: bool) -> Entry:
    entry = Entry(path, kind, stat.S_IMODE(status.st_mode), 0, 0, int(status.st_mtime))
    if owners:
        entry.uid, entry.gid = status.st_uid, status.st_gid
    if kind == FILE:
        entry.size = status.st_size
    elif kind == SYMLINK:
        entry.target = os.fsencode(at.readlink())
    elif kind in (CHAR, BLOCK):
        entry.major, entry.minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    entry.xattrs = _attributes(at)
    return entry


def _attributes(at: Path) -> tuple[tuple[bytes, bytes], ...]:
    try:
        names = sorted(os.listxattr(at, follow_symlinks=False))
        kept = [name for name in names if name.startswith(_OF_FILES) and not name.startswith(_OVERLAYS)]
        return tuple((os.fsencode(name), os.getxattr(at, name, follow_symlinks=False)) for name in kept)
    except OSError:
        return ()


def _read_file(at: Path, status: os.stat_result) -> Iterator[bytes]:
    with os.fdopen(os.open(at, _READ), "rb", buffering=0) as file:
        now = os.fstat(file.fileno())
        if not os.path.samestat(status, now):
            raise SourceError("the file was replaced while it was read", where=str(at), hint="run the command again")
        left = status.st_size
        while left and (piece := file.read(min(left, _PIECE))):
            left -= len(piece)
            yield piece


def squashfs_stream(reader: SquashfsReader) -> Iterator[bytes]:
    """Yield a tar stream of a squashfs.

    Raises:
        SquashfsError: It is damaged or beyond a limit.
    """
    return tar_stream(_squashfs_entries(reader))


def _squashfs_entries(reader: SquashfsReader) -> Iterator[tuple[Entry, Iterable[bytes]]]:
    first: dict[int, bytes] = {}
    for node in reader.walk():
        known = first.setdefault(node.reference, node.path)
        if known != node.path:
            yield Entry(node.path, HARDLINK, 0, 0, 0, 0, target=known), ()
        elif node.kind <= FIFO:
            yield _squashfs_entry(reader, node), reader.chunks(node) if node.kind == FILE else ()


def _squashfs_entry(reader: SquashfsReader, node: Node) -> Entry:
    entry = Entry(node.path, node.kind, node.mode, node.uid, node.gid, node.mtime)
    if node.kind == FILE:
        entry.size = node.size
    elif node.kind == SYMLINK:
        entry.target = node.target
    elif node.kind in (CHAR, BLOCK):
        entry.major, entry.minor = node.device >> 8 & 0xFFF, node.device & 0xFF | node.device >> 12 & 0xFFF00
    entry.xattrs = tuple(sorted(reader.read_xattrs(node).items()))
    return entry
