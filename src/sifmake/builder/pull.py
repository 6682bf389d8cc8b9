"""The main job for one image named on a command line: no project, no lock file, no records."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sifmake.builder.provenance import make_origin
from sifmake.errors import PackDamagedError
from sifmake.files import make_folders, replace_file
from sifmake.oci.model import Platform
from sifmake.output_path import check_output
from sifmake.project.configuration import Configuration
from sifmake.temporaries import folder_beside

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.assembly.image import SifSummary
    from sifmake.oci.model import Image
    from sifmake.progress import Progress
    from sifmake.registry.settings import Credentials
    from sifmake.sources.base import Source
    from sifmake.sources.settings import SourceSettings
    from sifmake.store import Store


@dataclass(frozen=True)
class PullRequest:
    """What to build where.

    Attributes:
        uri: The image.
        target: The SIF file; replaced when the new one is finished.
        platform: What the image is to run on.
        compression: ``gzip`` or ``zstd``.
        plain_http: Whether the registry is asked without TLS.
        auth_file: Registry credentials in Docker's form.
        credentials: For the registry that the image names, before anything else.
    """

    uri: str
    target: Path
    platform: Platform = field(default_factory=Platform)
    compression: str = "gzip"
    plain_http: bool = False
    auth_file: Path | None = None
    credentials: Credentials | None = None


def pull(request: PullRequest, progress: Progress, configuration: Configuration | None = None) -> None:
    """Build a SIF file from an image; sign and verify it where a key is configured.

    Args:
        request: What to build where.
        progress: Where messages go.
        configuration: Store, registries, limits and key; defaults without one.

    Raises:
        SifmakeError: It cannot be done; the target is as it was.
    """
    from sifmake.builder.streamed_packs import StreamedPacks
    from sifmake.reference import parse_uri
    from sifmake.reference.uri import SIF_TRANSPORTS
    from sifmake.registry.shared import Connections
    from sifmake.sources.settings import SourceSettings

    options = configuration or Configuration()
    store = options.open_store(progress)
    settings = SourceSettings(
        limits=options.limits,
        registries=options.registries,
        no_https=request.plain_http,
        auth_file=request.auth_file or options.auth_file,
        credentials=request.credentials,
        sink=StreamedPacks(store, request.compression, options.limits, progress),
        progress=progress,
        shared=Connections(),
    )
    make_folders(request.target.parent)
    check_output(request.target)
    if parse_uri(request.uri).transport in SIF_TRANSPORTS:
        _fetch(request, settings)
    elif options.key:
        _pull_signed(request, settings, store, options)
    else:
        _pull_layers(request, settings, store)


def _pull_signed(request: PullRequest, settings: SourceSettings, store: Store, configuration: Configuration) -> None:
    """Build beside the target; it gets its name when it is signed and verified."""
    from sifmake.builder.image_signing import sign_and_verify

    with folder_beside(request.target) as folder:
        temporary = folder / request.target.name
        digests = _pull_layers(replace(request, target=temporary), settings, store).objects
        sign_and_verify(configuration, temporary, digests, settings.progress)
        replace_file(temporary, request.target)


def _fetch(request: PullRequest, settings: SourceSettings) -> None:
    """Fetch a finished SIF file."""
    from sifmake.builder.fetch_sif import fetch_whole
    from sifmake.sources.opening import open_sif_source

    source = open_sif_source(request.uri, settings)
    try:
        fetch_whole(source, request.target, request.uri)
    finally:
        source.close()


def _pull_layers(request: PullRequest, settings: SourceSettings, store: Store) -> SifSummary:
    from sifmake.builder.indexes import resolve_image
    from sifmake.builder.name_meanings import keep_meaning, sif_key
    from sifmake.sources.opening import open_source

    source = open_source(request.uri, settings)
    try:
        resolved = resolve_image(store, source, request.platform, settings.limits)
        built = build_image(source, resolved.manifest_digest, store, request, settings)
    finally:
        source.close()
    if source.transport == "docker":
        keep_meaning(store, request.uri, request.platform, sif_key(resolved.manifest_digest))
    return built


def build_image(
    source: Source, manifest_digest: str, store: Store, request: PullRequest, settings: SourceSettings
) -> SifSummary:
    """Write the SIF file of an image; the source is asked only for what the store lacks.

    Args:
        source: Has the image.
        manifest_digest: Of the image.
        store: Where packs are looked for and kept.
        request: Says what to write where.
        settings: Limits, and where messages go.

    Raises:
        SifmakeError: It cannot be done; the target is as it was.
    """
    from sifmake.builder.image_cache import load_image

    image = load_image(store, source, manifest_digest)
    try:
        return _build(source, image, store, request, settings)
    except PackDamagedError as error:
        # The damaged pack is out of the store now, so that a second try makes it anew.
        settings.progress.warning(str(error))
        return _build(source, image, store, request, settings)


def _build(source: Source, image: Image, store: Store, request: PullRequest, settings: SourceSettings) -> SifSummary:
    """Fetch what the store lacks and write the SIF; packs that turn out to be damaged leave the store."""
    from sifmake.builder import image_build

    limits, progress = settings.limits, settings.progress
    packs = image_build.fetch_packs(source, image, store, request.compression, limits, progress)
    try:
        merged = image_build.merge_packs(packs, image, progress, limits)
        origin = make_origin(source.transport, source.name.partition("@")[0], image.digest)
        build = image_build.BuildSettings(request.compression)
        return image_build.write_sif(request.target, merged, packs, image, origin, build, progress, store)
    except image_build.SUSPECT as error:
        if image_build.drop_damaged(packs, store, error):
            raise PackDamagedError(error.what, where=error.where, hint="the layer is packed again") from None
        raise
    finally:
        image_build.close_packs(packs)
