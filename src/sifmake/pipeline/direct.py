"""The main job for one image named on a command line: no project, no lock file, no records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.errors import PackDamagedError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci.model import Platform
from sifmake.pipeline.origin import make_origin

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.assembly.image import SifSummary
    from sifmake.oci.model import Image
    from sifmake.progress import Progress
    from sifmake.sources.base import Source
    from sifmake.store import Store


@dataclass(frozen=True)
class Pull:
    """What to build where.

    Attributes:
        uri: The image.
        target: The SIF file; replaced when the new one is finished.
        platform: What the image is to run on.
        compression: ``gzip`` or ``zstd``.
        plain_http: Whether the registry is asked without TLS.
        auth_file: Registry credentials in Docker's form.
    """

    uri: str
    target: Path
    platform: Platform = field(default_factory=Platform)
    compression: str = "gzip"
    plain_http: bool = False
    auth_file: Path | None = None


def pull(request: Pull, progress: Progress) -> None:
    """Build a SIF file from an image.

    Raises:
        SifmakeError: It cannot be done; the target is as it was.
    """
    from sifmake.pipeline.image_cache import load_image
    from sifmake.sources.opening import open_source
    from sifmake.sources.settings import SourceSettings
    from sifmake.store import Store

    store = Store.open(progress=progress)
    settings = SourceSettings(
        no_https=request.plain_http,
        auth_file=request.auth_file,
        temp_folder=store.temporary_folder,
        progress=progress,
    )
    source = open_source(request.uri, settings)
    try:
        resolved = source.resolve(request.platform, store)
        image = load_image(store, source, resolved.manifest_digest)
        try:
            summary = _build(source, image, store, request, progress)
        except PackDamagedError as error:
            # The damaged pack is out of the store now, so that a second try makes it anew.
            progress.warning(str(error))
            summary = _build(source, image, store, request, progress)
    finally:
        source.close()
    progress.info(f"{request.target}: {summary.size} bytes, sha256:{summary.sha256}")


def _build(source: Source, image: Image, store: Store, request: Pull, progress: Progress) -> SifSummary:
    """Fetch what the store lacks and write the SIF; packs that turn out to be damaged leave the store."""
    from sifmake.pipeline import engine

    packs = engine.fetch_packs(source, image, store, request.compression, DEFAULT_LIMITS, progress)
    try:
        flattened = engine.flatten_packs(packs, image, progress)
        origin = make_origin(source.transport, source.name.partition("@")[0], image.digest)
        build = engine.BuildSettings(request.compression)
        return engine.write_sif(request.target, flattened, packs, image, origin, build, progress)
    except PackDamagedError:
        engine.drop_damaged(packs, store)
        raise
    finally:
        engine.close_packs(packs)
