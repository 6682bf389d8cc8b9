"""Whether name and digest of a lock follow from its ``from``: what can be said without reading anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import LockError
from sifmake.oci.digest import is_digest
from sifmake.reference.uri import FILE, REGISTRY_TRANSPORTS

if TYPE_CHECKING:
    from sifmake.project.images import ImageSettings
    from sifmake.project.locks import AnyLock
    from sifmake.reference import Uri

INDEX_TRANSPORTS = frozenset({"docker", "oci", "oci-archive"})
"""Transports whose references can name an index; the digest of the others' is of an image, or made from it."""
_WITHOUT_INDEX = frozenset({"docker-archive", "http", "https", FILE})
"""Transports whose digest is that of what is built."""


def check_source(lock: AnyLock, name: str, where: str) -> None:
    """Compare name and digest of a lock with its ``from``; nothing is read.

    Args:
        lock: The lock.
        name: The image's name.
        where: The lock file, for errors.

    Raises:
        LockError: They do not follow from it.
    """
    uri = lock.source
    if uri.transport in REGISTRY_TRANSPORTS:
        expected = uri.reference.with_digest("").canonical
        if lock.name != expected:
            raise refused(f"names {lock.name}, and its 'from' is {expected}", name, where)
    pin = pinned_digest(uri)
    if pin and pin != lock.digest:
        raise refused(f"has the digest {lock.digest}, and its 'from' is pinned to {pin}", name, where)
    if uri.transport in _WITHOUT_INDEX and lock.digest != lock.built_from:
        raise not_derived(lock, name, where)


def not_derived(lock: AnyLock, name: str, where: str, why: str = "") -> LockError:
    """Return the error for a lock whose manifest does not follow from its digest."""
    what = f"the manifest {lock.built_from} does not follow from {lock.digest} for {lock.platform}"
    return refused(f"{what} ({why})" if why else what, name, where)


def refused(what: str, name: str, where: str) -> LockError:
    """Return the error for a lock that does not hold together."""
    return LockError(what, where=where, hint=f"run sifmake lock {name} and review what it changes")


def is_for(lock: AnyLock, image: ImageSettings) -> bool:
    """Whether a lock is for what the configuration has, to the letter, on the same platform."""
    return (lock.source.given, lock.platform) == (image.source.given, image.platform)


def pinned_digest(uri: Uri) -> str:
    """Return the digest that an image URI is pinned to; empty where there is none that a lock would have too."""
    if uri.transport in {"http", "https"}:
        digits = uri.rest.partition("#sha256")[2].lstrip("=:")
        return f"sha256:{digits}" if digits else ""
    if uri.transport not in REGISTRY_TRANSPORTS | INDEX_TRANSPORTS:
        return ""
    digest = uri.rest.rpartition("@")[2]
    return digest if is_digest(digest) else ""
