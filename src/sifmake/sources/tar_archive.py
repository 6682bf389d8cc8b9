"""Tar archives: uncompressed files have random access, everything else is read as a stream."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from sifmake.errors import SourceError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.ranges import read_at
from sifmake.sources.archive import advised
from sifmake.sources.compression import is_compressed
from sifmake.sources.content import Member, RandomAccess
from sifmake.sources.tar_members import BLOCK, follow, is_header, walk

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.limits import Limits
    from sifmake.sources.content import ArchiveContent
    from sifmake.sources.settings import SourceSettings


class TarArchive(RandomAccess):
    """The files in a tar archive. If two members have the same name, the last one is used."""

    def __init__(self, fd: int, limits: Limits = DEFAULT_LIMITS) -> None:
        """Read all headers.

        Args:
            fd: An open, seekable file; closed with the archive, and after an error.
            limits: Bound the headers; see :func:`~sifmake.sources.tar_members.entries_of`.

        Raises:
            IntegrityError: It is not a tar archive, or is damaged or truncated.
        """
        self._fd = fd
        try:
            self._members = {member.name: member for member in walk(FileBytes(fd), limits)}
        except BaseException:
            self.close()
            raise

    def open(self, name: str) -> Member:
        """Open a file, following links inside the archive.

        Raises:
            FileNotFoundError: There is no such file.
        """
        found = follow(self._members, name)
        return Member(self._fd, found.offset, found.size)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class FileBytes:
    """A seekable archive's bytes; see :class:`~sifmake.sources.tar_members.ArchiveBytes`."""

    def __init__(self, fd: int) -> None:
        """Begin at the first byte of an open file."""
        self.position = 0
        self._fd = fd
        self._end = os.fstat(fd).st_size

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end only."""
        data = read_at(self._fd, size, self.position)
        self.position += len(data)
        return data

    def skip(self, size: int) -> bool:
        """Skip bytes; False if the file ends before."""
        wanted = self.position + size
        self.position = min(wanted, self._end)
        return wanted <= self._end


def open_archive(transport: str, path: Path, settings: SourceSettings) -> ArchiveContent:
    """Open a tar archive, which may be compressed, or a pipe.

    Raises:
        SourceError: There is no such file.
        IntegrityError: It is damaged.
    """
    try:
        return _open(path, settings)
    except SourceError as error:
        raise advised(error.within(f"{transport}:{path}")) from None


def _open(path: Path, settings: SourceSettings) -> ArchiveContent:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SourceError(f"the archive cannot be opened ({error.strerror})") from None
    try:
        streamed = _is_streamed(path, fd)
    except BaseException:
        os.close(fd)
        raise
    if not streamed:
        return TarArchive(fd, settings.limits)
    from sifmake.sources.streamed import FileStream, StreamedArchive

    return StreamedArchive(FileStream(fd, settings.limits), settings.sink, settings.limits)


def _is_streamed(path: Path, fd: int) -> bool:
    """Tell whether an archive has to be read as a stream; raise SourceError for what certainly is not one."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise SourceError("this is a folder, not an archive", hint="use oci: for a layout")
    if not stat.S_ISREG(mode) or is_compressed(read_at(fd, 8, 0)):
        return True
    head = read_at(fd, BLOCK, 0)
    if len(head) < BLOCK or not is_header(head):
        from sifmake.not_sif import HEAD, describe_other

        what, hint = describe_other(str(path), read_at(fd, HEAD, 0), "an image archive")
        if what:
            raise SourceError(what, hint=hint)
    return False
