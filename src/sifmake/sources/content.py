"""Named files of an image, in a folder or an archive, opened for one pass."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Protocol, Self

from sifmake.errors import LimitError, SourceError
from sifmake.ranges import read_at

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from sifmake.limits import Limits
    from sifmake.sources.base import LayerFacts


class Member:
    """A range of an open file. Several members may use one descriptor at the same time.

    Attributes:
        size: Bytes.
    """

    def __init__(self, fd: int, offset: int, size: int, *, owns: bool = False) -> None:
        self.size = size
        self._fd = fd
        self._start = self._position = offset
        self._end = offset + size
        self._owns = owns

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, all that is left when negative; empty at the end."""
        left = self._end - self._position
        data = read_at(self._fd, left if size < 0 else min(size, left), self._position)
        self._position += len(data)
        return data

    def peek(self, size: int) -> bytes:
        """Return the next bytes without going on."""
        return read_at(self._fd, min(size, self._end - self._position), self._position)

    def close(self) -> None:
        """Close the file if this member owns it."""
        if self._owns:
            os.close(self._fd)
            self._owns = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MemoryMember(Member):
    """A file whose bytes are in memory."""

    def __init__(self, data: bytes) -> None:
        super().__init__(-1, 0, len(data))
        self._data = data

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, all that is left when negative; empty at the end."""
        data = self.peek(self._end if size < 0 else size)
        self._position += len(data)
        return data

    def peek(self, size: int) -> bytes:
        """Return the next bytes without going on."""
        return self._data[self._position : self._position + size]


class ArchiveContent(Protocol):
    """Named files.

    Attributes:
        streamed: Whether the files are read from a stream, so that opening one out of order is expensive.
        identity: A text that changes if the files change; empty if there is none.
    """

    @property
    def streamed(self) -> bool:
        """See above."""

    @property
    def identity(self) -> str:
        """See above."""

    def open(self, name: str) -> Member:
        """Open a file.

        Raises:
            FileNotFoundError: There is no such file.
        """

    def passed(self, name: str) -> LayerFacts | None:
        """Return the properties of a layer that was streamed; None if it has to be opened.

        Raises:
            FileNotFoundError: There is no such file.
            IntegrityError: The layer is damaged.
        """

    def keep(self, diff_ids: Collection[str]) -> None:
        """Say which of the streamed layers to keep."""

    def close(self) -> None:
        """Close everything that is open."""


class RandomAccess:
    """Base of contents whose files can be opened in any order and repeatedly."""

    streamed = False
    identity = ""

    def passed(self, name: str) -> LayerFacts | None:  # noqa: ARG002
        """Nothing went by."""
        return None

    def keep(self, diff_ids: Collection[str]) -> None:
        """Nothing went by."""


class FolderContent(RandomAccess):
    """The files in a folder of the file system."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, name: str) -> Member:
        """Open a regular file; links are followed, because layouts often share blobs that way.

        Raises:
            FileNotFoundError: There is no such file.
        """
        fd = os.open(self._path / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise SourceError("not a regular file", where=str(self._path / name))
        return Member(fd, 0, status.st_size, owns=True)

    def close(self) -> None:
        """Nothing is held open."""


def read_small(content: ArchiveContent, name: str, limit: int) -> bytes:
    """Return a small file's bytes.

    Raises:
        FileNotFoundError: There is no such file.
        LimitError: It is larger than ``limit``.
    """
    with content.open(name) as member:
        if member.size > limit:
            hint = "raise manifest-bytes or config-bytes (limits: in sifmake.yaml)"
            raise LimitError(f"the document has {member.size} bytes, more than {limit}", where=name, hint=hint)
        return member.read()


class SmallMembers:
    """Documents of an archive; each is read only once, and one limit applies to all of them."""

    def __init__(self, content: ArchiveContent, limits: Limits) -> None:
        self._content = content
        self._limits = limits
        self._left = limits.documents_bytes
        self._read: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        """Return a document.

        Raises:
            FileNotFoundError: There is no such file.
            LimitError: It is larger than a config may be, or all documents together are too large.
        """
        if name not in self._read:
            data = read_small(self._content, name, self._limits.config_bytes)
            self._left -= len(data)
            if self._left < 0:
                raise LimitError(
                    f"the archive's documents have more than {self._limits.documents_bytes} bytes together",
                    hint="save fewer images into it, or raise documents-bytes (limits: in sifmake.yaml)",
                )
            self._read[name] = data
        return self._read[name]
