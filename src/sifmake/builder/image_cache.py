"""Images by the digest of their manifest: from the store if it has them, else from their source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.oci.loading import load_image
from sifmake.oci.model import Descriptor

if TYPE_CHECKING:
    from sifmake.oci.model import Image
    from sifmake.sources.base import Source
    from sifmake.store import Store


class StoredDocuments:
    """Manifests and configs in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def manifest(self, descriptor: Descriptor) -> bytes:
        """Return a manifest.

        Raises:
            KeyError: The store lacks it.
        """
        data = self._store.blobs.get(descriptor.digest)
        if data is None:
            raise KeyError(descriptor.digest)
        return data

    blob = manifest


class ImageCache:
    """Images in the store; the last loaded image is also kept in memory.

    Attributes:
        store: Holds manifests and configs.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._last: Image | None = None

    def load(self, source: Source, manifest_digest: str) -> Image:
        """Return an image and keep its manifest and config in the store.

        Raises:
            SourceError: Neither the store nor the source has it.
        """
        if self._last is None or self._last.digest != manifest_digest:
            self._last = self._load(source, manifest_digest)
        return self._last

    def _load(self, source: Source, manifest_digest: str) -> Image:
        try:
            return load_image(Descriptor("", manifest_digest, 0), StoredDocuments(self.store))
        except KeyError:
            image = source.image(manifest_digest)
        self.store.blobs.put(image.digest, image.manifest)
        self.store.blobs.put(image.config_descriptor.digest, image.config.raw)
        return image
