"""Find the manifest that a reference points to, from what the store can prove without asking the source.

A note in the store says which manifest was chosen from an index, but anyone with write access to the store can have
written it. So a note on an index is never trusted: the store keeps the index itself, whose bytes must have the
requested digest, and the manifest is chosen from it each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sifmake.builder.image_cache import StoredDocuments
from sifmake.errors import SourceError
from sifmake.oci.loading import load_image as build_image
from sifmake.oci.membership import find_candidates
from sifmake.oci.model import Descriptor
from sifmake.oci.platform import is_served_by
from sifmake.project.lock_source import INDEX_TRANSPORTS
from sifmake.sources.base import name_note_key

if TYPE_CHECKING:
    from sifmake.builder.image_cache import ImageCache
    from sifmake.limits import Limits
    from sifmake.oci.model import Platform
    from sifmake.sources.base import KnownIndexes, Resolved, Source
    from sifmake.store import Store


class ProvenIndexes:
    """What the store can prove about the indexes of a registry.

    Attributes:
        proven: The manifest of each requested index for which the store has a proof.
    """

    def __init__(self, store: Store, limits: Limits, mark: str) -> None:
        """Use a store.

        Args:
            store: Holds indexes and notes.
            limits: Bounds on indexes.
            mark: Result of :func:`~sifmake.sources.base.name_note_key` for the image's name; this note is not about an
                index.
        """
        self.proven: dict[str, str] = {}
        self._store = store
        self._limits = limits
        self._mark = mark

    def find_manifest(self, index_digest: str, platform: Platform) -> str | None:
        """Return the manifest that the stored index has for a platform; None if the store cannot prove one."""
        if index_digest == self._mark:
            return self._store.blobs.find_manifest(index_digest, platform)
        found = self._prove(index_digest, platform)
        if found is not None:
            self.proven[index_digest] = found
            if self._store.blobs.find_manifest(index_digest, platform) not in (None, found):
                self.remember_manifest(index_digest, platform, found)
        return found

    def remember_manifest(self, index_digest: str, platform: Platform, manifest_digest: str) -> None:
        """Keep a note for ``cache export``, and for the next request of the name."""
        self._store.blobs.remember_manifest(index_digest, platform, manifest_digest)

    def _prove(self, digest: str, platform: Platform) -> str | None:
        documents = StoredDocuments(self._store)
        try:
            found = find_candidates(digest, platform, documents, self._limits)
            manifest = found.manifests[0]
            if len(found.manifests) > 1:
                manifest = self._store.blobs.find_manifest(digest, platform) or ""
            if manifest not in found.manifests:
                return None
            if found.by_config:
                image = build_image(Descriptor("", manifest, 0), documents)
                return manifest if is_served_by(image.config.platform, platform) else None
        except (KeyError, SourceError):
            return None
        return manifest


class _NotedImages:
    """Notes of the store on archives and engines, for images that it has."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.remember_manifest = store.blobs.remember_manifest

    def find_manifest(self, index_digest: str, platform: Platform) -> str | None:
        """Return the manifest's digest; None if the store lacks the manifest, so that the source is read again."""
        found = self._store.blobs.find_manifest(index_digest, platform)
        return found if found and self._store.blobs.get(found) is not None else None


class DocumentSource(Protocol):
    """Provides indexes and manifests by digest."""

    def document(self, digest: str) -> bytes:
        """Return a checked document; see :class:`~sifmake.sources.base.Source`."""


class KeptDocuments(StoredDocuments):
    """Indexes from the store; missing ones come from the source and are kept in the store."""

    def __init__(self, store: Store, source: DocumentSource) -> None:
        super().__init__(store)
        self._source = source

    def manifest(self, descriptor: Descriptor) -> bytes:
        """Return an index or manifest.

        Raises:
            SourceError: The source has no document with this digest.
        """
        try:
            return super().manifest(descriptor)
        except KeyError:
            data = self._source.document(descriptor.digest)
        self._store.blobs.put(descriptor.digest, data)
        return data


def _known_indexes(store: Store, source: Source, limits: Limits) -> KnownIndexes:
    """Return what the store knows about a source's references."""
    if source.transport == "docker":
        return ProvenIndexes(store, limits, name_note_key(source.name))
    return _NotedImages(store)


def resolve_image(
    images: ImageCache, source: Source, platform: Platform, limits: Limits, known: KnownIndexes | None = None
) -> Resolved:
    """Ask a source which manifest its reference points to, and keep the indexes that prove it in the store.

    Args:
        images: Provides the store for indexes.
        source: Provides what the store cannot prove.
        platform: The platform of the image.
        limits: Bounds on indexes.
        known: What is known already; None for what the store knows.

    Raises:
        SourceError: The source has no such image, or none for the platform.
    """
    known = known or _known_indexes(images.store, source, limits)
    resolved = source.resolve(platform, known)
    if isinstance(known, ProvenIndexes) and known.proven.get(resolved.digest) == resolved.manifest_digest:
        return resolved
    if resolved.digest != resolved.manifest_digest and source.transport in INDEX_TRANSPORTS:
        find_candidates(resolved.digest, platform, KeptDocuments(images.store, source), limits)
    elif source.transport == "docker":
        images.load(source, resolved.manifest_digest)
    return resolved
