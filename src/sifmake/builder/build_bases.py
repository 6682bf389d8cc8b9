"""The base of a stage of a definition file: its layers and settings."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.errors import SifError, SigningError, SourceError, describe_os_error
from sifmake.os_errors import path_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sifmake.builder.builder import Builder
    from sifmake.definition.model import Base
    from sifmake.layers.pack_reader import Pack
    from sifmake.oci.model import Image, Platform
    from sifmake.project.configuration import Configuration
    from sifmake.rootfs.settings import Settings
    from sifmake.sources.base import Source
    from sifmake.steps.layer_maker import LayerMaker

SCRATCH, LOCAL = "scratch", "localimage"
BUNDLE = "bundle"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of the disk to which a layer is written; others are about the base."""
_SIF_AGENTS = frozenset({"oras", "http", "https"})


@dataclass(frozen=True)
class OpenedBase:
    """A base image that is available.

    Attributes:
        packs: Its layers, lowest first; the caller owns them.
        settings: Settings of the OCI image; None if the base has no image config.
        is_prepared: Whether its files in ``/.singularity.d`` keep their content.
        created: RFC 3339 time of the image; may be empty.
        architecture: The architecture in its config; may be empty.
        canonical: Full reference of an image in a registry; else empty.
        digest: Digest of the platform's manifest of an OCI image; else empty.
        oci_config: Members of ``oci-config.json``; None if the image gets none.
    """

    packs: list[Pack] = field(default_factory=list)
    settings: Settings | None = None
    is_prepared: bool = False
    created: str = ""
    architecture: str = ""
    canonical: str = ""
    digest: str = ""
    oci_config: dict[str, Any] | None = None


class BaseOpener:
    """Opens bases for one build.

    Args:
        builder: Provides the store and the settings of sources.
        maker: Makes layers of file systems without layers.
        platform: Platform of the images.
        compression: Compression of the packs.
        configuration: Names the trusted keys.
        before_fetching: Called before anything big is downloaded; may raise.
    """

    def __init__(
        self,
        builder: Builder,
        maker: LayerMaker,
        platform: Platform,
        compression: str,
        configuration: Configuration,
        before_fetching: Callable[[], object],
    ) -> None:
        self._builder = builder
        self._maker = maker
        self._platform = platform
        self._compression = compression
        self._configuration = configuration
        self._before_fetching = before_fetching

    def open(self, base: Base) -> OpenedBase:
        """Return the layers and settings of a base; only layers that the store lacks are downloaded.

        Raises:
            SifmakeError: The base cannot be read.
            SigningError: The base is not signed by the keys that the definition names.
        """
        if base.agent == SCRATCH:
            return OpenedBase()
        if base.agent == LOCAL:
            return self.open_local(Path(base.reference), base)
        if base.agent == BUNDLE:
            return self._bundle(Path(base.reference))
        if base.agent in _SIF_AGENTS:
            return self._fetched(base)
        return self._layers(base)

    def _layers(self, base: Base) -> OpenedBase:
        from sifmake.reference import parse_uri

        source = self._builder.open_source(parse_uri(base.uri), self._compression)
        try:
            resolved = self._builder.resolve(source, self._platform)
            image = self._builder.load_image(source, resolved.manifest_digest)
            return self.open_image(source, image, source.transport, source.name)
        finally:
            source.close()

    def open_image(self, source: Source, image: Image, transport: str, name: str) -> OpenedBase:
        """Return the layers and settings of an image.

        Args:
            source: Provides the layers that the store lacks.
            image: Manifest and config.
            transport: Transport of its URI.
            name: Name that its source gives it.

        Raises:
            SifmakeError: A layer cannot be read.
        """
        from sifmake.builder.image_build import fetch_packs
        from sifmake.builder.provenance import make_origin
        from sifmake.layers.pack_format import pack_key_prefix
        from sifmake.rootfs.settings import read_settings

        builder = self._builder
        origin = make_origin(transport, name.partition("@")[0], image.digest)
        settings = read_settings(image.config)
        if not all(builder.store.packs.keys(pack_key_prefix(layer.diff_id)) for layer in image.layers):
            self._before_fetching()
        limits, progress = builder.settings.limits, builder.settings.progress
        packs = fetch_packs(source, image, builder.store, self._compression, limits, progress, builder.remotes)
        return OpenedBase(
            packs,
            settings,
            created=image.config.created,
            architecture=image.config.platform.architecture,
            canonical=origin.canonical,
            digest=origin.manifest_digest,
            oci_config=settings.document,
        )

    def open_local(self, path: Path, base: Base) -> OpenedBase:
        """Return the root file system of a SIF file, folder, archive or squashfs image.

        Raises:
            SifmakeError: It cannot be read.
            SigningError: It is not signed by the keys that the definition names.
        """
        from sifmake.builder.local_trees import open_local_tree

        builder = self._builder
        try:
            if path.is_file():
                self._check_signatures(path, base)
            found = open_local_tree(path, self._maker, builder.store, builder.settings.limits)
        except OSError as error:
            if error.errno in _FULL or Path(path_in(error)).is_relative_to(builder.store.root):
                raise  # not of the base
            raise SourceError(describe_os_error(error)) from None
        return OpenedBase([found.pack], is_prepared=True, oci_config=found.oci_config)

    def _fetched(self, base: Base) -> OpenedBase:
        with self._sif_of(base) as path:
            return self.open_local(path, base)

    @contextmanager
    def _sif_of(self, base: Base) -> Iterator[Path]:
        """Provide the path of a SIF file from a server; a file with a digest is downloaded only once."""
        from sifmake.builder.run_cache import fetch_stored
        from sifmake.reference import parse_uri

        self._before_fetching()
        found = fetch_stored(self._builder, parse_uri(base.uri), self._platform)
        try:
            yield Path(f"/proc/self/fd/{found.fd}")
        finally:
            found.close()

    def _bundle(self, folder: Path) -> OpenedBase:
        from sifmake.builder.oci_bundle import read_bundle
        from sifmake.steps.tree_streams import folder_stream

        bundle = read_bundle(folder, self._builder.settings.limits)
        pack = self._maker.find_or_make(lambda: folder_stream(bundle.root), folder.absolute().name)
        return OpenedBase([pack], bundle.settings, oci_config=bundle.settings.document)

    def _check_signatures(self, path: Path, base: Base) -> None:
        """Check for signatures with the fingerprints in a definition; report invalid signatures."""
        from sifmake.project.keys import load_project_trust
        from sifmake.signing import verify_file
        from sifmake.signing.verdict import Verdict

        try:
            found = verify_file(path, load_project_trust(self._configuration))
        except SifError:
            if base.fingerprints:
                raise SigningError(
                    "only SIF files can be signed", where=base.reference, hint="leave out Fingerprints"
                ) from None
            return
        signed = {_plain(signer.fingerprint) for signer in found.signers} if not found.exit_code else set()
        missing = [wanted for wanted in base.fingerprints if _plain(wanted) not in signed]
        if missing:
            why = "; ".join(found.reasons[:5]) or "other keys have signed it"
            hint = "download the file again, or import the keys with `sifmake key import`"
            raise SigningError(f"it does not verify with {missing[0]}: {why}", where=base.reference, hint=hint)
        if found.verdict not in (Verdict.VERIFIED, Verdict.UNSIGNED):
            why = "; ".join(found.reasons[:5])
            self._builder.settings.progress.warning(f"{base.reference} does not verify: {why}")


def _plain(fingerprint: str) -> str:
    return fingerprint.replace(" ", "").removeprefix("0x").upper()
