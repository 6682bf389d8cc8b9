"""Digests in the form of the OCI image spec (descriptor.md, section "Digests")."""

from __future__ import annotations

import hashlib

from sifmake.errors import IntegrityError
from sifmake.reference.reference import DIGEST


def is_digest(text: object) -> bool:
    """Tell whether this is a sha256 or sha512 digest in its canonical form, which is safe in a file name."""
    return isinstance(text, str) and DIGEST.match(text) is not None


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
