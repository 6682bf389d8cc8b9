"""The builder of images: one store and one set of source settings, for a command, a library call or a project."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from sifmake.block_compression import has_fixed_bytes
from sifmake.errors import SourceError
from sifmake.reference.uri import FILE, Uri

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sifmake.assembly.image import SifSummary
    from sifmake.builder.remote_steps import RemoteSteps
    from sifmake.files import OpenTarget
    from sifmake.oci.model import Image, Platform
    from sifmake.places import Place
    from sifmake.progress import Progress
    from sifmake.project.configuration import Configuration
    from sifmake.project.project import Project
    from sifmake.registry.settings import Credentials
    from sifmake.remote.remote_packs import RemotePacks
    from sifmake.remote.settings import RemoteSettings
    from sifmake.sources.base import KnownIndexes, Resolved, SifSource, Source
    from sifmake.sources.settings import SourceSettings
    from sifmake.store import Store

_LOCAL_TRANSPORTS = frozenset({"oci", "oci-archive", "docker-archive", FILE})


class Builder:
    """Opens sources and makes SIF files of images.

    Attributes:
        store: The store of packs, images and finished SIF files.
        settings: Settings of all sources, with limits and progress.
        root: Base of relative local paths; None for the current folder.
        offline: Whether to open local sources only.
    """

    def __init__(
        self,
        store: Store,
        settings: SourceSettings,
        *,
        root: Path | None = None,
        offline: bool = False,
        remotes: tuple[RemoteSettings, ...] = (),
    ) -> None:
        from sifmake.builder.image_cache import ImageCache

        self.store = store
        self.settings = settings
        self.root = root
        self.offline = offline
        self._remotes = remotes
        self._images = ImageCache(store)

    @cached_property
    def remotes(self) -> RemotePacks | None:
        """The remote stores of packs; None if there are none or the run is offline."""
        if not self._remotes or self.offline:
            return None
        from sifmake.remote.remote_packs import RemotePacks

        left_alone = self.settings.shared.left_alone if self.settings.shared else {}
        return RemotePacks(self._remotes, self.store, self.settings, left_alone)

    def takes_foreign(self, compression: str) -> bool:
        """Tell whether images of a compression are made from packs of other encoders, too."""
        return not has_fixed_bytes(compression) or any(remote.foreign for remote in self._remotes)

    def remote_steps(self, compression: str) -> RemoteSteps | None:
        """Return what takes layers of build steps from remote stores, in packs of a compression; None as above."""
        if self.remotes is None:
            return None
        from sifmake.builder.remote_steps import RemoteSteps

        return RemoteSteps(self.remotes, self.store, compression, self.settings.progress)

    def open_source(self, uri: Uri, compression: str = "gzip") -> Source:
        """Open a source of an image with layers.

        Args:
            uri: The image.
            compression: Compression of packs that are made while a stream is read.

        Raises:
            SourceError: The source cannot be opened, or it is remote and the run is offline.
        """
        from sifmake.builder.streamed_packs import StreamedPacks
        from sifmake.sources.opening import open_source

        sink = StreamedPacks(self.store, compression, self.settings.limits, self.settings.progress)
        return open_source(self._reachable(uri), replace(self.settings, sink=sink))

    def open_sif_source(
        self, uri: Uri, platform: Platform | None = None, older: Sequence[Callable[[], int | None]] = ()
    ) -> SifSource:
        """Open a source of a prebuilt SIF file; raises the errors of :meth:`open_source`.

        Args:
            uri: The file.
            platform: The platform to choose from an index of SIF files; None for this machine's.
            older: Open older versions of the file; see :mod:`~sifmake.builder.older_sifs`.
        """
        from sifmake.sources.opening import open_sif_source

        return open_sif_source(self._reachable(uri), replace(self.settings, platform=platform, older=older))

    def resolve(self, source: Source, platform: Platform, known: KnownIndexes | None = None) -> Resolved:
        """Ask a source which image its reference points to; see :func:`~sifmake.builder.indexes.resolve_image`."""
        from sifmake.builder.indexes import resolve_image

        return resolve_image(self._images, source, platform, self.settings.limits, known)

    def load_image(self, source: Source, manifest_digest: str) -> Image:
        """Return an image by digest; see :meth:`~sifmake.builder.image_cache.ImageCache.load`."""
        return self._images.load(source, manifest_digest)

    def write_sif(
        self,
        source: Source,
        manifest_digest: str,
        target: Path | OpenTarget,
        output: Place,
        compression: str = "gzip",
    ) -> SifSummary:
        """Write the unsigned SIF file of an image; the source is asked only for what the store lacks.

        Args:
            source: Provides the image.
            manifest_digest: The image to write.
            target: The file; an open file is neither synced nor renamed.
            output: The file as the user knows it, for the check of free space.
            compression: Compression of the blocks.

        Raises:
            NoRoomError: There is not enough room; nothing was downloaded.
            SifmakeError: The file cannot be written; the target is unchanged.
        """
        from sifmake.builder.damaged_packs import retry_damaged
        from sifmake.builder.image_packs import ImagePacks
        from sifmake.builder.provenance import make_origin

        progress = self.settings.progress
        image = self.load_image(source, manifest_digest)
        origin = make_origin(source.transport, source.name, image.digest)
        packs = ImagePacks(self, source, lambda: image, compression, progress, (output,))
        try:
            return retry_damaged(
                lambda: packs.write_sif(target, packs.merge(), origin, {}), packs.drop_damaged, progress
            )
        finally:
            packs.close()

    def _reachable(self, uri: Uri) -> Uri:
        """Return a source's URI with its path made absolute; SourceError if it is remote and the run is offline."""
        if uri.transport in _LOCAL_TRANSPORTS:
            return uri if self.root is None else Uri(uri.transport, str(self.root / uri.rest))
        if self.offline:
            raise SourceError("the image is not in the store, and the run is offline", where=uri.given)
        return uri


class RegistryAccess(msgspec.Struct, frozen=True):
    """How one command or library call reaches registries, in place of the configuration.

    Attributes:
        plain_http: Whether to use plain HTTP.
        auth_file: File with registry credentials in Docker's format, instead of the configured one.
        credentials: Credentials for the registry of the image; they take precedence over all others.
    """

    plain_http: bool = False
    auth_file: Path | None = None
    credentials: Credentials | None = None


def make_builder(configuration: Configuration, progress: Progress, access: RegistryAccess) -> Builder:
    """Return the builder of a command or library call, whose references a user has typed.

    Args:
        configuration: Store, registries and limits.
        progress: Receives messages.
        access: How to reach registries.
    """
    from sifmake.registry.shared import Connections

    settings = replace(call_settings(configuration, progress, access), shared=Connections())
    return Builder(configuration.open_store(progress), settings, remotes=configuration.find_remotes())


def call_settings(configuration: Configuration, progress: Progress, access: RegistryAccess) -> SourceSettings:
    """Return the source settings of a command or library call; see :func:`make_builder`."""
    settings = _settings(configuration, progress)
    return replace(
        settings,
        typed=True,
        no_https=access.plain_http,
        auth_file=access.auth_file or settings.auth_file,
        credentials=access.credentials,
    )


def project_builder(project: Project, progress: Progress | None = None) -> Builder:
    """Return the builder of a project, with its store and connections; paths are relative to its folder.

    Args:
        project: The project.
        progress: Receives messages of sources; None for the project's own progress.
    """
    settings = _settings(project.configuration, progress or project.progress)
    settings = replace(settings, shared=project.connections)
    return Builder(
        project.store,
        settings,
        root=project.root,
        offline=project.modes.offline,
        remotes=project.configuration.find_remotes(),
    )


def _settings(configuration: Configuration, progress: Progress) -> SourceSettings:
    from sifmake.sources.settings import SourceSettings

    return SourceSettings(
        limits=configuration.limits,
        registries=configuration.registries,
        auth_file=configuration.auth_file,
        typed=False,
        progress=progress,
    )
