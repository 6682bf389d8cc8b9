"""Send the changes in a tree to the caller: a record for each path, followed by the bytes of a file."""

from __future__ import annotations

import marshal
import os
import stat

from sifmake.rootless.errors import RootlessError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from sifmake.rootless.changes import TreeChange

    Record = tuple[bytes, int, int, int, int, int, int, bytes, int, int, tuple[tuple[bytes, bytes], ...]]
    """Path, kind, mode, uid, gid, mtime, size, target, major, minor, extended attributes."""

DIR, FILE, SYMLINK, BLOCK, CHAR, FIFO, HARDLINK, WHITEOUT, OPAQUE = 1, 2, 3, 4, 5, 6, 8, 9, 10
"""Same as in ``layers.entry``, which needs packages that the keeper does not have."""
_PART = 1 << 20
_PYC_HEADER = 16
_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFCHR: CHAR,
    stat.S_IFBLK: BLOCK,
}


def write_changes(changes: Iterable[TreeChange], epoch: int | None, file: BinaryIO) -> None:
    """Write the changes.

    Args:
        changes: Each folder before its content; paths are relative to the current folder.
        epoch: Later times are set back to this.
        file: Gets the records.

    Raises:
        RootlessError: A file cannot be stored in a layer.
        OSError: The tree cannot be read, or the stream cannot be written.
    """
    writer = _Writer(epoch, file)
    for change in changes:
        writer.add(change)
    marshal.dump(None, file)


class _Writer:
    """Writes records; paths are relative to the current folder."""

    def __init__(self, epoch: int | None, file: BinaryIO) -> None:
        self._epoch = epoch
        self._file = file
        self._first_names: dict[tuple[int, int], bytes] = {}

    def add(self, change: TreeChange) -> None:
        """Write the record for a change."""
        if change.status is None:
            self._record(change.path, WHITEOUT)
            return
        if change.path.rpartition(b"/")[2].startswith(b".wh."):
            raise RootlessError(
                "a layer cannot hold a name that begins with .wh.",
                where=os.fsdecode(change.path),
                hint="give the file another name",
            )
        self._add_inode(change, change.status)
        if change.opaque:
            self._record(change.path, OPAQUE)

    def _add_inode(self, change: TreeChange, status: os.stat_result) -> None:
        path, kind = change.path, _KINDS[stat.S_IFMT(status.st_mode)]
        if kind != DIR and status.st_nlink > 1:
            first = self._first_names.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                self._record(path, HARDLINK, target=first)
                return
        if change.device:
            self._record(path, _KINDS[change.device[0]], change)
        elif kind == FILE:
            with open(path, "rb", opener=_open_file) as source:
                size = os.fstat(source.fileno()).st_size
                self._record(path, kind, change, size=size)
                self._file.writelines(self._content(path, source, size))
        else:
            self._record(path, kind, change, target=os.readlink(path) if kind == SYMLINK else b"")

    def _record(
        self, path: bytes, kind: int, change: TreeChange | None = None, *, size: int = 0, target: bytes = b""
    ) -> None:
        mode = mtime = major = minor = 0
        owner = (0, 0)
        xattrs: tuple[tuple[bytes, bytes], ...] = ()
        if change and change.status:
            owner, xattrs, status = change.owner, change.xattrs, change.status
            mode, mtime = status.st_mode & 0o7777, self._clamped(status.st_mtime_ns // 10**9)
            if change.device:
                _, major, minor = change.device
            elif kind in (CHAR, BLOCK):
                major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
        record: Record = (path, kind, mode, *owner, mtime, size, target, major, minor, xattrs)
        marshal.dump(record, self._file)

    def _clamped(self, time: int) -> int:
        return time if self._epoch is None else min(time, self._epoch)

    def _content(self, path: bytes, source: BinaryIO, size: int) -> Iterator[bytes]:
        """Yield a file's bytes; bytecode gets its source's new time, or Python would compile it again."""
        if path.endswith(b".pyc") and self._epoch is not None:
            header = source.read(min(_PYC_HEADER, size))
            size -= len(header)
            yield _clamp_pyc(header, self._epoch)
        while size:
            part = source.read(min(size, _PART))
            if not part:
                raise RootlessError("a file was truncated while it was read", where=os.fsdecode(path))
            size -= len(part)
            yield part


def _clamp_pyc(header: bytes, epoch: int) -> bytes:
    """Set back the time in a header of bytecode (PEP 552: with flags 0, bytes 8 to 11 are the source's time)."""
    if len(header) < _PYC_HEADER or header[4:8] != bytes(4):
        return header
    time = min(int.from_bytes(header[8:12], "little"), epoch & 0xFFFFFFFF)
    return header[:8] + time.to_bytes(4, "little") + header[12:]


def _open_file(path: str | bytes, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
