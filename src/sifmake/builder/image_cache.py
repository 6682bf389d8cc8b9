"""Images by the digest of their manifest: from the store where it has them, else from where the lock says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sifmake.errors import SourceError
from sifmake.oci.loading import load_image as build_image
from sifmake.oci.model import Descriptor

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sifmake.oci.model import Image, Layer, Platform
    from sifmake.progress import Progress
    from sifmake.project.project import Project
    from sifmake.sources.base import BlobReader, KnownIndexes, Resolved, Source
    from sifmake.sources.settings import SourceSettings
    from sifmake.store import Store


_LOCAL_TRANSPORTS = frozenset({"oci", "oci-archive", "docker-archive"})


class LazySource:
    """A source that is opened when something has to be read from it: what the store has needs no source.

    Attributes:
        transport: Always ``lazy``.
        name: As the lock has it.
    """

    transport = "lazy"

    def __init__(self, project: Project, uri: str, name: str, compression: str) -> None:
        self.name = name
        self._project = project
        self._uri = uri
        self._compression = compression
        self._opened: Source | None = None

    def _source(self) -> Source:
        if self._opened is None:
            self._opened = open_project_source(self._project, self._uri, self._compression, self._project.progress)
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


def open_project_source(project: Project, uri: str, compression: str, progress: Progress) -> Source:
    """Open a source with the project's settings; relative paths start from the project's folder.

    Args:
        project: Has settings and store.
        uri: The image.
        compression: Of the packs that are made of layers that come by once.
        progress: Told of these.

    Raises:
        SourceError: It cannot be opened, or it is a remote one and the run is offline.
    """
    from sifmake.builder.streamed_packs import StreamedPacks
    from sifmake.sources.opening import open_source

    transport, colon, rest = uri.partition(":")
    sink = StreamedPacks(project.store, compression, project.configuration.limits, progress)
    settings = replace(source_settings(project), sink=sink)
    if transport in _LOCAL_TRANSPORTS:
        return open_source(f"{transport}{colon}{project.root / rest}", settings)
    if project.modes.offline:
        raise SourceError("is not in the store, and the run is offline", where=uri)
    return open_source(uri, settings)


def source_settings(project: Project) -> SourceSettings:
    """Return the settings of sources that the project's configuration gives."""
    from sifmake.sources.settings import SourceSettings

    options = project.configuration
    return SourceSettings(
        limits=options.limits,
        registries=options.registries,
        auth_file=options.auth_file,
        typed=False,
        shared=project.connections,
        progress=project.progress,
    )


class StoredDocuments:
    """Manifests and configs that the store has."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def manifest(self, descriptor: Descriptor) -> bytes:
        """Return a manifest.

        Raises:
            KeyError: The store lacks it.
        """
        data = self._store.get_blob(descriptor.digest)
        if data is None:
            raise KeyError(descriptor.digest)
        return data

    blob = manifest


def load_image(store: Store, source: Source, manifest_digest: str) -> Image:
    """Return an image and keep its manifest and config in the store.

    Raises:
        SourceError: The store lacks it and so does the source.
    """
    try:
        return build_image(Descriptor("", manifest_digest, 0), StoredDocuments(store))
    except KeyError:
        image = source.image(manifest_digest)
    _keep_image(store, image)
    return image


def _keep_image(store: Store, image: Image) -> None:
    """Put manifest and config into the store."""
    store.put_blob(image.digest, image.manifest)
    store.put_blob(image.config_descriptor.digest, image.config.raw)
