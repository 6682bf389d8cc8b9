"""Writing a SIF file from a stream: counted, hashed, checked, renamed when it is complete."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError, LimitError, SourceError
from sifmake.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sifmake.progress import Task

_CHUNK = 1 << 20
MAGIC, MAGIC_WITHIN = b"SIF_MAGIC", 2048
"""Bytes in which the peers look for the magic (SIF readers sniff the first 2 KiB)."""
_MODE = 0o755


def write_sif(path: Path, read: Callable[[int], bytes], task: Task, *, limit: int, expected: str = "") -> str:
    """Write a SIF file from a stream and return its SHA-256 as ``sha256:...``.

    Args:
        path: The target; unchanged after an error.
        read: Returns up to a number of bytes; empty at the end.
        task: Receives the progress.
        limit: Most bytes.
        expected: Digest that the file must have; empty for any.

    Raises:
        SourceError: It is not a SIF file.
        IntegrityError: It does not have the digest.
        LimitError: It is too large.
    """
    algorithm = expected.partition(":")[0] or "sha256"
    digest, sha256 = hashlib.new(algorithm), hashlib.sha256()
    total = 0
    with atomic_write(path, _MODE) as file:
        data = _read_head(read)
        _check_magic(data)
        while data:
            total += len(data)
            if total > limit:
                raise LimitError(
                    f"the file is larger than {limit} bytes", hint="raise layer-bytes (limits: in sifmake.yaml)"
                )
            digest.update(data)
            sha256.update(data)
            file.write(data)
            task.advance(len(data))
            data = read(_CHUNK)
        actual = f"{algorithm}:{digest.hexdigest()}"
        if expected and actual != expected:
            raise IntegrityError(
                f"digest mismatch: expected {expected}, got {actual}",
                hint="the file was replaced or damaged; check its source",
            )
    task.finish()
    return f"sha256:{sha256.hexdigest()}"


def _read_head(read: Callable[[int], bytes]) -> bytes:
    """Return the first bytes, as many as the magic may be in, although a slow server may send them one by one."""
    data = b""
    while len(data) < MAGIC_WITHIN and (more := read(_CHUNK)):
        data += more
    return data


def _check_magic(data: bytes) -> None:
    if MAGIC not in data[:MAGIC_WITHIN]:
        from sifmake.not_sif import HEAD, describe

        what, hint = describe(data[:HEAD])
        raise SourceError(what, hint=hint)
