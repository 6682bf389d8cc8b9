"""A source that is opened on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sifmake.oci.model import Image, Layer, Platform
    from sifmake.sources.base import BlobReader, KnownIndexes, Resolved, Source


class LazySource:
    """A source opened on first use; never opened if the store has everything.

    Attributes:
        transport: Always ``lazy``.
        name: The name in the lock.
    """

    transport = "lazy"

    def __init__(self, name: str, open_source: Callable[[], Source]) -> None:
        self.name = name
        self._open_source = open_source
        self._opened: Source | None = None

    def _source(self) -> Source:
        if self._opened is None:
            self._opened = self._open_source()
        return self._opened

    def resolve(self, platform: Platform, known: KnownIndexes | None = None) -> Resolved:
        """Ask the source; see :class:`~sifmake.sources.base.Source`."""
        return self._source().resolve(platform, known)

    def image(self, manifest_digest: str) -> Image:
        """Ask the source; see :class:`~sifmake.sources.base.Source`."""
        return self._source().image(manifest_digest)

    def document(self, digest: str) -> bytes:
        """Ask the source; see :class:`~sifmake.sources.base.Source`."""
        return self._source().document(digest)

    def read_through(self, manifest_digest: str) -> None:
        """Ask the source; see :class:`~sifmake.sources.base.Source`."""
        self._source().read_through(manifest_digest)

    def open_layer(self, layer: Layer) -> AbstractContextManager[BlobReader]:
        """Ask the source; see :class:`~sifmake.sources.base.Source`."""
        return self._source().open_layer(layer)

    def close(self) -> None:
        """Close the source if it was opened."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
