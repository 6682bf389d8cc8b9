"""Give back an image that was built here: the layers of its base and of its steps, and one of sifmake's own files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from sifmake.builder.image_export import GivenBack, naming_target, put_layer
from sifmake.layers.blocks import Workers
from sifmake.layers.entry import DIR, Entry
from sifmake.layers.tar_writer import tar_stream
from sifmake.oci.digest import digest_bytes
from sifmake.oci.given_back import NewManifest
from sifmake.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from sifmake.oci.model import Platform
from sifmake.rootfs.environment import environment_script
from sifmake.rootfs.fixed import text_of
from sifmake.rootfs.gojson import compact
from sifmake.rootfs.places import META, NO_RUNSCRIPT
from sifmake.rootfs.runscript import runscript
from sifmake.rootfs.settings import check_settings
from sifmake.steps.copy_layer import LayerFile, data_file
from sifmake.steps.layer_maker import LayerMaker
from sifmake.steps.own_files import own_files
from sifmake.steps.step_key import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sifmake.builder.builder import Builder
    from sifmake.builder.image_export import ImageTarget
    from sifmake.builder.stage_build import BuiltStage
    from sifmake.layers.layer_blob import LayerBlob
    from sifmake.rootfs.settings import Settings

_RUNSCRIPT, _ENVIRONMENT = b".singularity.d/runscript", b".singularity.d/env/90-environment.sh"
_TEXT_BYTES = 1 << 20
_DIGITS = 12


@dataclass(frozen=True)
class OpenedBuild:
    """An image that was built, to give back.

    Attributes:
        builder: Provides the store.
        built: Its last stage.
        wanted: The platform for which it was built.
        compression: Compression of its packs.
    """

    builder: Builder
    built: BuiltStage
    wanted: Platform
    compression: str

    @property
    def platform(self) -> Platform:
        """Its platform; the architecture is that of its programs."""
        found = self.built.architecture
        return self.wanted if found in ("", self.wanted.architecture) else Platform("linux", found)

    def give_back(self, target: ImageTarget) -> GivenBack:
        """Write it to a target; the same image gives the same bytes.

        Raises:
            SifmakeError: A layer cannot be read, or the target refuses it.
            OSError: From reading or writing.
        """
        builder, tree = self.builder, self.built.tree
        limits, progress = builder.settings.limits, builder.settings.progress
        settings, files = self._settings()

        def own_layer() -> Iterator[bytes]:
            added = ((file.entry, file.open()) for file in files)
            return tar_stream(chain(own_files(tree, limits), added))

        with (
            LayerMaker(builder.store, self.compression, limits, progress) as maker,
            Workers() as workers,
            maker.find_or_make(own_layer, "files of sifmake") as own,
        ):
            packs = (*tree.packs, own)
            blobs = [put_layer(builder, target, pack, workers) for pack in packs]
            diff_ids = [pack.meta.diff_id for pack in packs]
        config = compact(self._config(settings, diff_ids))
        manifest = NewManifest(compact(_manifest(config, blobs)), OCI_MANIFEST)
        with naming_target(target):
            target.put_config(digest_bytes(config), config)
            return GivenBack(target.put_manifest(manifest), len(blobs), 0)

    def _config(self, settings: dict[str, Any], diff_ids: Sequence[str]) -> dict[str, Any]:
        platform = self.platform
        known = {"variant": platform.variant} if platform.variant else {}
        created = datetime.fromtimestamp(self.built.tree.epoch, UTC)
        return {
            "created": created.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20),
            "architecture": platform.architecture,
            **known,
            "os": platform.os,
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        }

    def _settings(self) -> tuple[dict[str, Any], list[LayerFile]]:
        """Return the settings of the base with the labels of the image, and files that the layers need for them.

        If the scripts of the image do more than the settings of the base say, the program is one that runs them. It
        runs copies, because whoever makes a SIF file of the image writes other scripts in their place.
        """
        settings = check_settings(self.built.oci_config)
        found = {**settings.document, "Labels": dict(sorted(self.built.labels.items()))}
        files: list[LayerFile] = []
        if not self._has_only(settings):
            files = self._copies()
            found.pop("Cmd", None)
            found["Entrypoint"] = [f"/{files[-1].entry.path.decode()}"]
        return {name: value for name, value in found.items() if value}, files

    def _has_only(self, settings: Settings) -> bool:
        """Tell whether the scripts of the image do no more than these settings say."""
        program = (settings.entrypoint, settings.cmd)
        scripts = {
            _RUNSCRIPT: {runscript(*program)} | (set() if any(program) else {NO_RUNSCRIPT}),
            META + b"/env/10-docker2singularity.sh": {environment_script(settings.env)[0], ""},
            _ENVIRONMENT: {text_of("env/90-environment.sh")},
        }
        return all(self._text(path) in {text.encode() for text in texts} for path, texts in scripts.items())

    def _copies(self) -> list[LayerFile]:
        """Return copies of runscript and environment, in folders named by their content, and what runs them."""
        epoch, texts = self.built.tree.epoch, [self._text(_RUNSCRIPT), self._text(_ENVIRONMENT)]
        folders = [META + b"/oci", META + b"/oci/" + digest_of([text.hex() for text in texts])[:_DIGITS].encode()]
        named = zip((b"runscript", b"environment.sh", b"run"), (*texts, text_of("oci/run").encode()), strict=True)
        return [
            *(LayerFile(Entry(folder, DIR, 0o755, 0, 0, epoch)) for folder in folders),
            *(data_file(folders[-1] + b"/" + name, text, 0o755, epoch) for name, text in named),
        ]

    def _text(self, path: bytes) -> bytes:
        return self.built.tree.read_text(path, _TEXT_BYTES) or b""


def _manifest(config: bytes, layers: Sequence[LayerBlob]) -> dict[str, Any]:
    """Return the manifest (OCI image spec, manifest.md)."""
    named = [{"mediaType": f"{OCI_LAYER}+gzip", "digest": layer.digest, "size": layer.size} for layer in layers]
    described = {"mediaType": OCI_CONFIG, "digest": digest_bytes(config), "size": len(config)}
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": named}
