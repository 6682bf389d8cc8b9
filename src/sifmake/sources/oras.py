"""``oras://``: a SIF file as the single layer of an OCI artifact, compatible with Apptainer and SingularityCE."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from sifmake.errors import IntegrityError, RegistryError, SifmakeError, SourceError, WrongBlobError
from sifmake.oci import Descriptor, choose_manifest, digest_bytes, host_platform, parse_index
from sifmake.oci.choosing import images_in
from sifmake.oci.documents import load_json, parse_descriptor
from sifmake.oci.media_types import (
    IMAGE_CONFIGS,
    OCI_MANIFEST,
    SIF_CONFIG,
    SIF_LAYER,
    SIF_LAYERS,
    is_known_thing,
    is_layer,
    what_it_is,
)
from sifmake.registry.client import RegistryClient
from sifmake.sources.base import no_matter
from sifmake.sources.registry_image import client_settings
from sifmake.sources.sif_file import write_sif

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sifmake.reference import Reference, Uri
    from sifmake.registry.transport import Response
    from sifmake.sources.settings import SourceSettings

_TITLE = "org.opencontainers.image.title"
_CONFIG = b"{}"
_SMALLEST_WITH_RECIPE = 1 << 20
"""Bytes of a file below which a recipe would cost more time than it saves."""
_SIF_SUFFIXES = (".sif", ".simg", ".img")


def open_sif(uri: Uri, settings: SourceSettings) -> OrasSource:
    """Return the artifact's source; no request is made yet."""
    return OrasSource(uri.reference, settings)


class OrasSource:
    """A SIF file in a registry.

    Attributes:
        transport: ``oras``.
        name: The canonical reference.
    """

    transport = "oras"

    def __init__(self, reference: Reference, settings: SourceSettings) -> None:
        self.name = reference.canonical
        self._reference = reference
        self._settings = settings
        self._client = RegistryClient(reference, client_settings(settings))
        self._digest = reference.digest
        self._documents: dict[str, bytes] = {}

    def resolve(self) -> str:
        """Return the manifest's digest with one HEAD; if the reference has a digest, return that without a request."""
        try:
            self._digest = self._digest or self._look_up()
        except SifmakeError as error:
            raise error.within(self._where) from None
        return self._digest

    def document(self, digest: str) -> bytes:
        """Return a manifest or index, fetched once."""
        try:
            return self._document(digest)
        except SifmakeError as error:
            raise error.within(self._where) from None

    def fetch(self, path: Path, expected: str = "", told_size: Callable[[int], object] = no_matter) -> str:
        """Write the SIF file; its digest is always checked against the manifest."""
        try:
            digest, manifest = self._manifest()
            layer = self._sif_layer(manifest)
            if expected.startswith(layer.digest.partition(":")[0]) and expected != layer.digest:
                raise IntegrityError(f"digest mismatch: expected {expected}, got {layer.digest}")
            told_size(layer.size)
            written = self._update(layer, digest, path) or self._write(layer, path)
            while not written:
                written = self._write(layer, path)
        except SifmakeError as error:
            raise error.within(self._where) from None
        return written

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    @property
    def _where(self) -> str:
        return f"oras://{self._reference.familiar}"

    def _update(self, layer: Descriptor, digest: str, path: Path) -> str:
        """Write the SIF file from an older one and return its SHA-256; empty if the complete file has to be fetched."""
        if not self._settings.older or not _may_have_recipe(self._reference, self._settings, layer):
            return ""
        from sifmake.registry.part_reader import NoPartsError  # imported here because few transfers are updates
        from sifmake.sources.oras_update import update_sif

        try:
            return update_sif(self._client, self._settings, layer, digest, path)
        except NoPartsError as error:
            return self._write(layer, path, error.answer)

    def _write(self, layer: Descriptor, path: Path, answer: Response | None = None) -> str:
        """Write the SIF file and return its SHA-256; empty if it was wrong and there is another place.

        Args:
            layer: Its blob.
            path: The target.
            answer: An answer of the first place that brings the complete blob; None to request it.
        """
        limit = self._settings.limits.layer_bytes
        task = self._settings.progress.task(self._reference.familiar, layer.size)
        try:
            with self._client.open_blob(layer, answer) as reader, _wrong_bytes():
                return write_sif(path, reader.read, task, limit=limit, expected=layer.digest)
        except WrongBlobError as error:
            if not error.elsewhere:
                raise
            task.finish("wrong bytes, fetched again")
            return ""

    def _look_up(self) -> str:
        head = self._client.head(self._reference.tag)
        if head.document:
            self._documents[head.digest] = head.document
        return head.digest

    def _document(self, digest: str) -> bytes:
        if digest not in self._documents:
            self._documents[digest] = self._client.manifest(digest, digest)[0]
        return self._documents[digest]

    def _manifest(self) -> tuple[str, dict[str, Any]]:
        """Return the manifest's digest and the manifest; for a resolved tag, the one to which it pointed then."""
        data = self._document(self._digest) if self._digest else self._client.manifest(self._reference.tag)[0]
        document = load_json(data)
        for _ in range(self._settings.limits.index_depth + 1):
            if "manifests" not in document:
                break
            data = self._document(self._chosen(document).digest)
            document = load_json(data)
        else:
            what = f"its indexes are nested more than {self._settings.limits.index_depth} deep (a limit)"
            raise SourceError(what, hint="name the file's manifest by its digest")
        return digest_bytes(data), document

    def _chosen(self, index: dict[str, Any]) -> Descriptor:
        """Return the entry of an index for the platform; `oras` names none if it was told none."""
        entries = images_in(parse_index(index))
        if len(entries) == 1 and entries[0].platform is None:
            return entries[0]
        return choose_manifest(entries, self._settings.platform or host_platform())

    def _sif_layer(self, manifest: dict[str, Any]) -> Descriptor:
        listed = manifest.get("layers")
        layers = [parse_descriptor(item) for item in listed] if isinstance(listed, list) else []
        found = list({layer.digest: layer for layer in _sifs_among(layers, manifest.get("config"))}.values())
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            names = ", ".join(layer.annotations.get(_TITLE, layer.digest) for layer in found)
            raise SourceError(
                f"this artifact has {len(found)} SIF files ({names})", hint="push each file to a separate tag"
            )
        if layers and all(is_layer(layer.media_type) for layer in layers):
            raise SourceError(
                f"this is a container image with {len(layers)} layers, not a SIF file",
                hint=f"use docker://{self._reference.familiar}",
            )
        kinds = ", ".join(sorted({what_it_is(layer.media_type)[0] for layer in layers})) or "nothing"
        raise SourceError(f"not a SIF file: it has {len(layers)} layers ({kinds})")


def _sifs_among(layers: Sequence[Descriptor], config: object) -> list[Descriptor]:
    """Return the layers that are SIF files: by their type, else by their title, else the only one of an artifact.

    ``oras push FILE`` may give a file any type. A layer that was not chosen by type is checked when it arrives.
    """
    typed = [layer for layer in layers if layer.media_type.partition(";")[0].strip() in SIF_LAYERS]
    if typed:
        return typed
    titled = [layer for layer in layers if layer.annotations.get(_TITLE, "").lower().endswith(_SIF_SUFFIXES)]
    media_type = config.get("mediaType") if isinstance(config, dict) else None
    if titled or len(layers) != 1 or media_type in IMAGE_CONFIGS:
        return titled
    kind = layers[0].media_type
    return list(layers) if is_layer(kind) or not is_known_thing(kind) else []


@contextmanager
def _wrong_bytes() -> Iterator[None]:
    """Treat a file with another digest, or that is not a SIF file, as wrong bytes from its place."""
    try:
        yield
    except (RegistryError, WrongBlobError):
        raise
    except SourceError as error:
        raise WrongBlobError(error.what, where=error.where, hint=error.hint) from None


def push_sif(path: Path, reference: Reference, settings: SourceSettings, *, recipe: bool = True) -> str:
    """Upload a SIF file like the peers and return the manifest's digest, which is always the same for the same file.

    Args:
        path: The file.
        reference: Where to.
        settings: Registries, credentials, limits; gets messages.
        recipe: Whether to store a recipe beside it, so that updates fetch only what changed; a registry that refuses
            it costs a warning.

    Raises:
        SourceError: There is no such file, or it is not a SIF file.
        RegistryError: The registry refuses it.
    """
    layer = _describe(path)
    try:
        return _push(path, layer, reference, settings, recipe=recipe)
    except SifmakeError as error:
        raise error.within(f"oras://{reference.familiar}") from None


def _push(path: Path, layer: Descriptor, reference: Reference, settings: SourceSettings, *, recipe: bool) -> str:
    manifest = sif_manifest(layer)
    with closing(RegistryClient(reference, client_settings(settings))) as client, path.open("rb") as file:
        uploader = client.uploader()
        config = digest_bytes(_CONFIG)
        if not uploader.has_blob(layer.digest):
            task = settings.progress.task(path.name, layer.size)
            uploader.put_blob(layer.digest, layer.size, file)
            task.finish()
        if not uploader.has_blob(config):
            uploader.put_blob(config, len(_CONFIG), _CONFIG)
        digest = uploader.put_manifest(reference.tag or digest_bytes(manifest), manifest, OCI_MANIFEST)
        if recipe and _may_have_recipe(reference, settings, layer):
            _push_recipe(client, file.fileno(), layer, Descriptor(OCI_MANIFEST, digest, len(manifest)), settings)
        return digest


def _push_recipe(
    client: RegistryClient, fd: int, layer: Descriptor, subject: Descriptor, settings: SourceSettings
) -> None:
    """Store the recipe of a file that is in the registry; if that fails, the file is complete without it."""
    from sifmake.sources.recipe_referrer import push_recipe

    try:
        push_recipe(client, fd, layer, subject, settings.limits.recipe_bytes)
    except (SifmakeError, OSError) as error:
        settings.progress.warning(
            f"the file is in the registry, but its recipe for small updates is not: {error}; "
            "use --no-recipe to push without one"
        )


def _may_have_recipe(reference: Reference, settings: SourceSettings, layer: Descriptor) -> bool:
    configured = settings.registries.get(reference.registry)
    return layer.size >= _SMALLEST_WITH_RECIPE and (configured is None or configured.sif_recipes)


def sif_manifest(layer: Descriptor) -> bytes:
    """Return the manifest of an artifact that has one SIF file."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": SIF_CONFIG, "digest": digest_bytes(_CONFIG), "size": len(_CONFIG)},
        "layers": [
            {
                "mediaType": layer.media_type,
                "digest": layer.digest,
                "size": layer.size,
                "annotations": layer.annotations,
            }
        ],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _describe(path: Path) -> Descriptor:
    try:
        with path.open("rb") as file:
            if b"SIF_MAGIC" not in file.read(2048):
                raise SourceError("this is not a SIF file", where=str(path))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise SourceError(f"the file cannot be read ({error.strerror})", where=str(path)) from None
    return Descriptor(SIF_LAYER, f"sha256:{digest}", size, {_TITLE: path.name})
