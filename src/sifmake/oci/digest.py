"""Digests in the form of the OCI image spec (descriptor.md, section "Digests")."""

from __future__ import annotations

import hashlib

from sifmake.errors import IntegrityError
from sifmake.reference.reference import is_digest

__all__ = ["check_bytes", "digest_bytes", "is_digest", "short"]


def digest_bytes(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def check_bytes(data: bytes, digest: str, size: int | None = None) -> bytes:
    """Return the bytes if they have the digest, and the size if one is given.

    Raises:
        IntegrityError: They do not.
    """
    if size is not None and len(data) != size:
        raise IntegrityError(f"the content has {len(data)} bytes, but {size} were announced", where=digest)
    actual = digest_bytes(data, digest.partition(":")[0])
    if actual != digest:
        raise IntegrityError(f"digest mismatch: the content has {actual}", where=digest)
    return data


def short(digest: str) -> str:
    """Return a digest shortened so that people can compare it."""
    return digest[: digest.find(":") + 13]
