"""The interface of places with packs, and how long they may take.

A remote store only saves work, so it gets less patience than the registry of an image: few attempts, short waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from sifmake.errors import LimitError
from sifmake.registry.settings import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sifmake.limits import Limits
    from sifmake.sources.settings import SourceSettings

_CONNECTING = 5.0
"""Longest wait for a connection, seconds; a host that is down costs this once in a run."""


@dataclass(frozen=True)
class Body:
    """The bytes of a file, read once.

    Attributes:
        size: How many.
        read: Returns up to a number of them, empty at the end.
    """

    size: int
    read: Callable[[int], bytes]


@dataclass(frozen=True)
class Offer:
    """A file that a place has.

    Attributes:
        open: Opens it if it has at most a number of bytes; may raise a
            :class:`~sifmake.registry.error_responses.NotFoundError`.
        statement: Returns the signed statement about it; raises a SourceError if there is none.
    """

    open: Callable[[int], AbstractContextManager[Body]]
    statement: Callable[[], bytes]


class PackPlace(Protocol):
    """One place with packs; several threads may use it."""

    def find(self, kind: str, key: str) -> Offer | None:
        """Return a file by the folder and the key (of a blob, the digest) in a store; None if the place lacks it.

        Raises:
            SourceError: There is no answer, or one that makes no sense.
        """

    def list_keys(self) -> list[str]:
        """Return the tags of everything that is there, as far as that is known.

        Raises:
            SourceError: There is no answer, or one that makes no sense.
        """

    def close(self) -> None:
        """Close all connections."""


def check_size(size: int, most: int) -> None:
    """Raise a LimitError if a file is larger than its layer allows."""
    if size > most:
        raise LimitError(f"it offers {size} bytes, more than the pack of this layer may have ({most}, a limit)")


def place_settings(settings: SourceSettings, *, uploading: bool = False) -> SourceSettings:
    """Return the settings of sources with the patience for a remote store.

    Credentials that were given for the registry of an image are left out.

    Args:
        settings: The settings for images.
        uploading: Whether packs are uploaded, for which a registry may take its time.
    """
    limits = settings.limits._replace(
        manifest_bytes=min(settings.limits.manifest_bytes, settings.limits.remote_document_bytes)
    )
    retry = _patience(settings.limits, settings.policy if uploading else None)
    return replace(settings, limits=limits, retry=retry, credentials=None, typed=False, no_https=False)


def _patience(limits: Limits, usual: RetryPolicy | None) -> RetryPolicy:
    """Return when requests are repeated; only the first contact is short if there is a usual policy."""
    seconds = float(limits.remote_seconds)
    if usual is not None:
        return usual._replace(attempts=3, first_attempts=1, connect_timeout=min(_CONNECTING, seconds))
    return RetryPolicy(
        attempts=2,
        first_attempts=1,
        base=0.2,
        longest_wait=1.0,
        connect_timeout=min(_CONNECTING, seconds),
        answer_timeout=seconds,
        head_time=seconds,
        head_bytes=limits.head_bytes,
        stall_time=seconds,
        stall_bytes=limits.remote_seconds * limits.remote_slowest_rate,
    )
