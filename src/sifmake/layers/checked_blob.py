"""Count, hash and check a blob's bytes as they pass."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError, WrongBlobError

if TYPE_CHECKING:
    from sifmake.layers.hashing import Hashing
    from sifmake.oci.model import Descriptor
    from sifmake.progress import Task
    from sifmake.sources.base import BlobReader


class Tally:
    """Counts and hashes bytes as they pass.

    Args:
        algorithm: Name of the digest's algorithm.
        hashing: Has the thread on which to hash; by default, the caller's does it.

    Attributes:
        size: Bytes so far.
    """

    def __init__(self, algorithm: str, hashing: Hashing | None = None) -> None:
        self.size = 0
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._hashing = hashing

    def add(self, data: bytes) -> bytes:
        """Return the same bytes."""
        self.size += len(data)
        if self._hashing is None:
            self._hash.update(data)
        else:
            self._hashing.update(self._hash.update, data)
        return data

    @property
    def digest(self) -> str:
        """The digest of the bytes so far, in OCI's format."""
        if self._hashing is not None:
            self._hashing.settle()
        return f"{self._algorithm}:{self._hash.hexdigest()}"


class CheckedBlob:
    """Reads a blob, counting and hashing its bytes; :meth:`finish` checks size and digest.

    Attributes:
        tally: Of the bytes read so far.
    """

    def __init__(self, reader: BlobReader, descriptor: Descriptor, task: Task, hashing: Hashing | None = None) -> None:
        self.tally = Tally(descriptor.digest.partition(":")[0], hashing)
        self._reader = reader
        self._descriptor = descriptor
        self._task = task
        self._head = b""
        self._error: Exception | None = None

    def head(self, size: int) -> bytes:
        """Peek at the first bytes, fewer than ``size`` if the blob is shorter; call it before the first read."""
        while len(self._head) < size and (data := self._fetch(size)):
            self._head += data
        return self._head[:size]

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` more bytes."""
        if not self._head:
            return self._fetch(size)
        data, self._head = self._head[:size], self._head[size:]
        return data

    def finish(self) -> None:
        """Read to the end and check size and digest.

        Raises:
            WrongBlobError: One of them is wrong.
        """
        while self.read(1 << 18):
            pass
        if self.tally.size != self._descriptor.size:
            raise WrongBlobError(
                f"blob ends after {self.tally.size} of {self._descriptor.size} bytes",
                hint="run the command again to download it again",
            )
        check_digest(self.tally, self._descriptor.digest, "blob", WrongBlobError)

    def _fetch(self, size: int) -> bytes:
        if self._error is not None:  # it came up while bytes were read ahead of a damage, which was raised instead
            raise self._error
        try:
            data = self.tally.add(self._reader.read(size))
            self._task.advance(len(data))
        except Exception as error:
            self._error = error
            raise
        if self.tally.size > self._descriptor.size:
            raise WrongBlobError(
                f"blob is longer than the {self._descriptor.size} bytes given in the manifest",
                hint="the source is damaged or hostile; use another one",
            )
        return data


def check_digest(found: Tally, expected: str, what: str, error: type[IntegrityError] = IntegrityError) -> None:
    """Compare what was read with an OCI digest.

    Raises:
        IntegrityError: They differ; of the given class.
    """
    if found.digest != expected:
        raise error(
            f"{what} has the wrong digest: expected {expected}, got {found.digest}",
            hint="the source is damaged or was tampered with; use another one",
        )
