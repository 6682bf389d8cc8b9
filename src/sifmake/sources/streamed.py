"""Archives that are read as a stream: compressed ones, pipes, exports of an engine.

The documents that list an image's layers may come last. So each member that may be a layer is passed to a sink, small
documents are kept in memory, and no temporary copy of the archive is written.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

from sifmake.errors import IntegrityError, SourceError
from sifmake.oci import is_digest
from sifmake.sources.base import LayerCandidate
from sifmake.sources.compression import Inflated, begins_as_xz_or_bzip2, begins_compressed, is_compressed
from sifmake.sources.content import Member, MemoryMember
from sifmake.sources.stream_bytes import MemberBytes, PipeBytes, Prefixed, StreamBytes, StreamMember
from sifmake.sources.tar_members import BLOCK, TarMember, follow, is_header, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager

    from sifmake.limits import Limits
    from sifmake.sources.base import BlobReader, LayerFacts, LayerSink

SETTLED = 2_000_000_000
"""Nanoseconds after which another change of a file is certain to change its time stamp."""


class _ArchiveStream(Protocol):
    """The source of an archive's uncompressed bytes.

    Attributes:
        identity: A text that changes if the bytes change; empty if there is none.
    """

    @property
    def identity(self) -> str:
        """See above."""

    def open(self) -> AbstractContextManager[BlobReader]:
        """Start at the first byte.

        Raises:
            SourceError: It cannot be read, or cannot be read a second time.
        """

    def close(self) -> None:
        """Give back what is held open."""


class StreamedArchive:
    """The files of a streamed archive. If two members have the same name, the last one is used.

    Opening a member that was not kept in memory reads the archive again, up to that member.
    """

    streamed = True

    def __init__(self, stream: _ArchiveStream, sink: LayerSink, limits: Limits) -> None:
        self._stream = stream
        self._sink = sink
        self._limits = limits
        self._members: dict[str, TarMember] = {}
        self._documents: dict[str, bytes] = {}
        self._documents_left = limits.documents_bytes
        self._passed: dict[str, LayerFacts] = {}
        self._compressed = False
        self._consumed: Callable[[], int] = int
        self._failed: dict[str, IntegrityError] = {}

    @property
    def identity(self) -> str:
        """A text that is the same only if the archive certainly is; empty if there is none."""
        return self._stream.identity

    def open(self, name: str) -> Member:
        """Open a file, following links inside the archive.

        Raises:
            FileNotFoundError: There is no such file.
        """
        found = self._find(name)
        if found.name in self._documents:
            return MemoryMember(self._documents[found.name])
        return self._open_again(found)

    def passed(self, name: str) -> LayerFacts | None:
        """Return the properties of a layer from the sink; None if it was not passed to the sink.

        Raises:
            FileNotFoundError: There is no such file.
            IntegrityError: The layer is damaged.
        """
        found = self._find(name)
        if found.name in self._failed:
            raise self._failed[found.name]
        return self._passed.get(found.name)

    def keep(self, diff_ids: Collection[str]) -> None:
        """Tell the sink which of the streamed layers to keep."""
        self._sink.keep(diff_ids)

    def close(self) -> None:
        """Drop layers in the sink that were not kept."""
        self._sink.drop()
        self._stream.close()

    def _find(self, name: str) -> TarMember:
        if not self._members:
            self._read_through()
        return follow(self._members, name)

    def _read_through(self) -> None:
        with self._stream.open() as reader:
            archive = StreamBytes(reader, self._limits.layer_bytes)
            self._compressed = isinstance(reader, Inflated)
            self._consumed = reader.consumed if isinstance(reader, Inflated) else lambda: archive.position
            for member in walk(archive, self._limits):
                self._forget(member.name)
                self._members[member.name] = member
                if not member.target:
                    self._take(archive, member)
            archive.drain()

    def _forget(self, name: str) -> None:
        self._passed.pop(name, None)
        self._failed.pop(name, None)
        self._documents_left += len(self._documents.pop(name, b""))

    def _take(self, archive: StreamBytes, member: TarMember) -> None:
        head = archive.head(min(BLOCK, member.size))
        data = MemberBytes(archive, member.size)
        if begins_compressed(head) or _is_tar(head):
            self._take_layer(archive, member, data, head)
        elif begins_as_xz_or_bzip2(head):
            self._take_inflated(archive, member, data, head)
        elif member.size <= min(self._documents_left, max(self._limits.manifest_bytes, self._limits.config_bytes)):
            self._documents[member.name] = data.read_all()
            self._documents_left -= member.size

    def _take_layer(self, archive: StreamBytes, member: TarMember, data: BlobReader, head: bytes) -> None:
        candidate = LayerCandidate(member.name, data, head, member.size, _algorithm(member.name), self._consumed)
        try:
            self._passed[member.name] = self._sink.take(candidate)
        except IntegrityError as error:
            if archive.broken:
                raise
            self._failed[member.name] = error

    def _take_inflated(self, archive: StreamBytes, member: TarMember, data: BlobReader, head: bytes) -> None:
        """Take a layer that is compressed with xz or bzip2, unless the archive is compressed, too."""
        if self._compressed:
            hint = "unpack the archive first: only one of archive and layer may be compressed with xz or bzip2"
            self._failed[member.name] = IntegrityError("the layer is compressed again inside the archive", hint=hint)
            return
        plain = Inflated(data, head, self._limits)
        try:
            begin = _read_block(plain)
        except IntegrityError as error:
            if archive.broken:
                raise
            self._failed[member.name] = error
            return
        if _is_tar(begin):
            self._take_layer(archive, member, Prefixed(begin, plain), begin)

    def _open_again(self, member: TarMember) -> StreamMember:
        with ExitStack() as stack:
            archive = StreamBytes(stack.enter_context(self._stream.open()), self._limits.layer_bytes)
            if not archive.skip(member.offset):
                raise IntegrityError("the archive was truncated while it was read")
            return StreamMember(archive, member.size, stack.pop_all())


class FileStream:
    """A compressed archive in a file, or any archive in a pipe."""

    def __init__(self, fd: int, limits: Limits) -> None:
        """Take over an open file."""
        self._fd = fd
        self._limits = limits
        self._regular = stat.S_ISREG(os.fstat(fd).st_mode)
        self._read = False

    @property
    def identity(self) -> str:
        """Device, inode, size and times; empty if the file was changed just now."""
        status = os.fstat(self._fd)
        changed = max(status.st_mtime_ns, status.st_ctime_ns)
        if not self._regular or time.time_ns() - changed < SETTLED:
            return ""
        return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"

    @contextmanager
    def open(self) -> Iterator[BlobReader]:
        """Start at the first byte; a pipe can do that only once."""
        if self._read and not self._regular:
            raise SourceError("a pipe can be read only once", hint="write the archive to a file first")
        self._read = True
        file: Member | PipeBytes = PipeBytes(self._fd)
        if self._regular:
            file = Member(self._fd, 0, os.fstat(self._fd).st_size)
        head = file.peek(8)
        yield Inflated(file, head, self._limits) if is_compressed(head) else file

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _read_block(reader: BlobReader) -> bytes:
    """Return the first block of a stream; less only at the end."""
    block = b""
    while len(block) < BLOCK and (more := reader.read(BLOCK - len(block))):
        block += more
    return block


def _is_tar(head: bytes) -> bool:
    """Tell whether a file begins like a tar archive; an empty one consists of zeros."""
    return len(head) == BLOCK and (is_header(head) or not head.strip(b"\0"))


def _algorithm(name: str) -> str:
    """Return the digest algorithm in the name of a layout's blob; sha256 for all other names."""
    algorithm, _, hexes = name.removeprefix("blobs/").partition("/")
    return algorithm if name.startswith("blobs/") and is_digest(f"{algorithm}:{hexes}") else "sha256"
