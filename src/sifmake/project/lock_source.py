"""Check that name and digest of a lock follow from its ``from``, as far as possible without reading anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import LockError
from sifmake.reference.reference import is_digest
from sifmake.reference.uri import FILE, REGISTRY_TRANSPORTS

if TYPE_CHECKING:
    from sifmake.project.images import ImageSettings
    from sifmake.project.locks import AnyLock
    from sifmake.reference import Uri

INDEX_TRANSPORTS = frozenset({"docker", "oci", "oci-archive"})
"""Transports whose references can name an index; with the others, the digest belongs to an image or is made from it."""
_WITHOUT_INDEX = frozenset({"docker-archive", "http", "https", FILE})
"""Transports whose digest is the digest of what is built."""


def check_source(lock: AnyLock, name: str, where: str) -> None:
    """Compare name and digest of a lock with its ``from``, without reading anything.

    Args:
        lock: The lock.
        name: The image's name.
        where: The lock file, for error messages.

    Raises:
        LockError: They do not follow from it.
    """
    uri = lock.source
    if uri.transport in REGISTRY_TRANSPORTS:
        expected = uri.reference.with_digest("").canonical
        if lock.name != expected:
            raise refused(f"names {lock.name}, but its 'from' is {expected}", name, where)
    pin = pinned_digest(uri)
    if pin and pin != lock.digest:
        raise refused(f"has the digest {lock.digest}, but its 'from' is pinned to {pin}", name, where)
    if uri.transport in _WITHOUT_INDEX and lock.digest != lock.built_from:
        raise not_derived(lock, name, where)


def not_derived(lock: AnyLock, name: str, where: str, why: str = "") -> LockError:
    """Return the error for a lock whose manifest does not follow from its digest."""
    what = f"the manifest {lock.built_from} does not follow from {lock.digest} for {lock.platform}"
    return refused(f"{what} ({why})" if why else what, name, where)


def refused(what: str, name: str, where: str) -> LockError:
    """Return the error for an inconsistent lock."""
    return LockError(what, where=where, hint=f"run `sifmake lock {name}` and review the changes")


def is_for(lock: AnyLock, image: ImageSettings) -> bool:
    """Whether a lock is for what the configuration has, to the letter, on the same platform."""
    return (lock.source.given, lock.platform) == (image.source.given, image.platform)


def pinned_digest(uri: Uri) -> str:
    """Return the digest to which an image URI is pinned; empty if there is none that a lock would contain."""
    if uri.transport in {"http", "https"}:
        digits = uri.rest.partition("#sha256")[2].lstrip("=:")
        return f"sha256:{digits}" if digits else ""
    if uri.transport not in REGISTRY_TRANSPORTS | INDEX_TRANSPORTS:
        return ""
    digest = uri.rest.rpartition("@")[2]
    return digest if is_digest(digest) else ""
