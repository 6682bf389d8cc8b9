"""Give an image back as OCI or Docker image: the same config and DiffIDs, from the packs in the store."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from msgspec.structs import replace

from sifmake.errors import SifmakeError, UsageError
from sifmake.flatten.flattened import short
from sifmake.layers.blocks import Workers
from sifmake.layers.checked_blob import CheckedBlob
from sifmake.layers.layer_blob import write_layer_blob
from sifmake.layers.pack_audit import STORED_LIMITS
from sifmake.oci.given_back import new_layer, new_manifest
from sifmake.os_errors import naming
from sifmake.store.scratch import path_of
from sifmake.temporaries import open_nameless

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sifmake.builder.builder import Builder
    from sifmake.layers.layer_blob import LayerBlob
    from sifmake.layers.pack_reader import Pack
    from sifmake.oci.given_back import NewManifest
    from sifmake.oci.model import Descriptor, Image, Layer, Platform
    from sifmake.project.locks import Lock
    from sifmake.reference import Uri
    from sifmake.sources.base import Source

_MADE_HERE = frozenset({"docker-archive", "docker-daemon"})
"""Transports whose manifests, with uncompressed layers, are made by sifmake, so that nobody knows their digests."""
_READ_SIZE = 1 << 20


class ImageTarget(Protocol):
    """Receives the parts of an image."""

    name: str

    def has_blob(self, digest: str, size: int, /) -> bool:
        """Tell whether it has a blob."""

    def put_blob(self, digest: str, size: int, file: BinaryIO) -> None:
        """Take a layer from an open file."""

    def put_config(self, digest: str, data: bytes) -> None:
        """Take the config."""

    def put_manifest(self, manifest: NewManifest) -> str:
        """Take the manifest, after everything that it names; return its digest."""


@dataclass(frozen=True)
class OpenedImage:
    """An image to give back.

    Attributes:
        builder: Provides the store.
        source: Provides what the store lacks; the caller closes it.
        image: Manifest and config.
        transport: Transport of its URI.
        compression: Compression of its packs.
    """

    builder: Builder
    source: Source
    image: Image
    transport: str
    compression: str = "gzip"

    @property
    def platform(self) -> Platform:
        """The platform in its config."""
        return self.image.config.platform

    def give_back(self, target: ImageTarget) -> GivenBack:
        """Write it to a target.

        A layer keeps its bytes if the target has its blob, if upstream stored it uncompressed, and if its pack cannot
        give it back, so that it comes from upstream once more. Other layers are compressed again.

        Raises:
            SifmakeError: A layer cannot be read, or the target refuses it.
            OSError: From reading or writing.
        """
        return _give_back(self, target)


@dataclass(frozen=True)
class GivenBack:
    """What was written.

    Attributes:
        digest: Digest of the manifest.
        layers: How many layers the image has.
        renewed: How many of them were compressed again, so that their digests are new.
    """

    digest: str
    layers: int
    renewed: int


@contextmanager
def open_named(builder: Builder, uri: Uri, platform: Platform) -> Iterator[OpenedImage]:
    """Open the image that a URI names.

    Raises:
        UsageError: It names a SIF file, which has no layers.
        SifmakeError: The image cannot be found.
    """
    if uri.is_sif:
        what = "a SIF file has no layers that could be given back"
        raise UsageError(what, where=uri.given, hint="name the image from which it was built")
    source = builder.open_source(uri)
    try:
        resolved = builder.resolve(source, platform)
        image = builder.load_image(source, resolved.manifest_digest)
        yield OpenedImage(builder, source, image, source.transport)
    finally:
        source.close()


@contextmanager
def open_locked(builder: Builder, lock: Lock) -> Iterator[OpenedImage]:
    """Open an image of a project that is pulled, as its lock names it; nothing is asked about its tag.

    Raises:
        SifmakeError: The image cannot be read.
    """
    from sifmake.builder.lazy_source import LazySource

    uri, compression = lock.source, lock.build.compression
    source = LazySource(lock.name, lambda: builder.open_source(uri, compression))
    try:
        yield OpenedImage(builder, source, builder.load_image(source, lock.manifest), uri.transport, compression)
    finally:
        source.close()


def _give_back(opened: OpenedImage, target: ImageTarget) -> GivenBack:
    image = opened.image
    own = {layer.descriptor.digest: layer.descriptor for layer in image.layers}
    with naming_target(target):
        written = {digest: layer for digest, layer in own.items() if target.has_blob(digest, layer.size)}
    if len(written) < len(own):
        written |= _written(opened, target, written)
    layers = [written[layer.descriptor.digest] for layer in image.layers]
    with naming_target(target):
        target.put_config(image.config_descriptor.digest, image.config.raw)
        digest = target.put_manifest(new_manifest(image, layers))
    renewed = sum(new.digest != layer.descriptor.digest for new, layer in zip(layers, image.layers, strict=True))
    return GivenBack(digest, len(layers), renewed)


@contextmanager
def naming_target(target: ImageTarget) -> Iterator[None]:
    """Let errors name the target."""
    try:
        yield
    except SifmakeError as error:
        raise error if target.name in error.where else error.within(target.name) from None


def _written(opened: OpenedImage, target: ImageTarget, there: Mapping[str, Descriptor]) -> dict[str, Descriptor]:
    """Write the layers that the target lacks; return their new descriptors by the digests of their own."""
    from sifmake.builder.image_build import close_packs, fetch_packs

    builder, image = opened.builder, opened.image
    limits, progress = builder.settings.limits, builder.settings.progress
    lacking = {layer.descriptor.digest: layer for layer in image.layers if layer.descriptor.digest not in there}
    part = replace(image, layers=tuple(lacking.values()))
    packs = fetch_packs(opened.source, part, builder.store, opened.compression, limits, progress, builder.remotes)
    try:
        with Workers() as workers:
            return {
                digest: _put(opened, target, layer, pack, workers)
                for (digest, layer), pack in zip(lacking.items(), packs, strict=True)
            }
    finally:
        close_packs(packs)


def _put(opened: OpenedImage, target: ImageTarget, layer: Layer, pack: Pack, workers: Workers) -> Descriptor:
    if not pack.has_residue:
        with _scratch_file(opened.builder) as file:
            _copy_from_source(opened, layer, file)
            file.flush()
            with naming_target(target):
                target.put_blob(layer.descriptor.digest, layer.descriptor.size, file)
        return layer.descriptor
    is_plain = layer.descriptor.digest == layer.diff_id and opened.transport not in _MADE_HERE
    blob = put_layer(opened.builder, target, pack, workers, compressed=not is_plain)
    found = new_layer(opened.image, *blob, compressed=not is_plain)
    return layer.descriptor if found.digest == layer.descriptor.digest else found


def put_layer(
    builder: Builder, target: ImageTarget, pack: Pack, workers: Workers, *, compressed: bool = True
) -> LayerBlob:
    """Write the layer of a pack to a target; return its digest and size.

    Raises:
        SifmakeError: The pack cannot give it, or the target refuses it.
        OSError: From writing.
    """
    with _scratch_file(builder) as file:
        task = builder.settings.progress.task(f"layer {short(pack.meta.diff_id)}")
        blob = write_layer_blob(file, pack, STORED_LIMITS, workers, task, compressed=compressed)
        task.finish()
        file.flush()
        with naming_target(target):
            target.put_blob(*blob, file)
    return blob


@contextmanager
def _scratch_file(builder: Builder) -> Iterator[BinaryIO]:
    """Provide a file without a name, beside the store."""
    with builder.store.scratch_folder() as scratch, naming(scratch.path), open_nameless(path_of(scratch)) as file:
        yield file


def _copy_from_source(opened: OpenedImage, layer: Layer, file: BinaryIO) -> None:
    """Write the blob of a layer as its source has it, checked against its digest."""
    progress = opened.builder.settings.progress
    task = progress.task(f"layer {short(layer.descriptor.digest)}", layer.descriptor.size)
    with opened.source.open_layer(layer) as reader:
        blob = CheckedBlob(reader, layer.descriptor, task)
        while data := blob.read(_READ_SIZE):
            file.write(data)
        blob.finish()
    task.finish()
