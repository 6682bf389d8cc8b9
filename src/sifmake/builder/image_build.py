"""The steps of a build: layers become packs, packs become a tree, tree and packs become a SIF file."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from sifmake.block_compression import DEFAULT_COMPRESSION, has_fixed_bytes
from sifmake.builder.cancellation import CancellableProgress
from sifmake.builder.streamed_packs import has_pack
from sifmake.builder.transfer_slots import TransferSlots
from sifmake.errors import IntegrityError, SifmakeError, WrongBlobError
from sifmake.files import OpenTarget
from sifmake.flatten.flattened import Flattened, Merged, flatten, merge, short
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import Codec, make_codec
from sifmake.layers.image_budget import ImageBudget
from sifmake.layers.pack_finder import PackFinder
from sifmake.layers.pack_format import is_alike, pack_key
from sifmake.layers.pack_reader import Pack, load_pack
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci.loading import check_layers
from sifmake.open_files import allow_files
from sifmake.threads import Threads, as_they_end

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sifmake import rootfs
    from sifmake.assembly.image import SifContents, SifSummary
    from sifmake.layers.entry import Inode
    from sifmake.limits import Limits
    from sifmake.oci.model import Image, Layer
    from sifmake.progress import Progress
    from sifmake.remote.remote_packs import RemotePacks
    from sifmake.sources.base import Source
    from sifmake.store import Store
    from sifmake.store.stored_files import Found

_PARALLEL_LAYERS = 6
_DAMAGED_LAYER = "the registry's copy is damaged; ask the owner of the image to build and push it again"
_NO_SHELL = "the image has no /bin/sh, so `sifmake shell` and `sifmake test` will not work; run and exec will"
ZSTD_WARNING = "Apptainer runs images with zstd blocks, SingularityCE refuses them"
"""Warning for images with zstd blocks."""


class BuildSettings(msgspec.Struct, frozen=True):
    """Settings that decide the bytes of a SIF file.

    Attributes:
        compression: How blocks are compressed, as for :func:`~sifmake.layers.codec.make_codec`.
        labels: Labels to add to those of the image.
    """

    compression: str = "gzip"
    labels: dict[str, str] = msgspec.field(default_factory=dict)


def fetch_packs(
    source: Source,
    image: Image,
    store: Store,
    compression: str,
    limits: Limits,
    progress: Progress,
    remotes: RemotePacks | None = None,
) -> list[Pack]:
    """Return the open packs of an image's layers; packs that the store lacks are made from the source.

    Several layers are fetched at the same time, each only once even if other processes need it too.

    Args:
        source: Provides the layers.
        image: The image.
        store: Provides packs and keeps new ones.
        compression: Compression of the packs.
        limits: Bounds on the layers.
        progress: Receives the progress of each layer.
        remotes: Remote stores, asked before the source; they get the packs that are made here, if they are set to.

    Raises:
        SourceError: A layer cannot be read, or there are too many.
        IntegrityError: A layer does not match the manifest. Packs of other layers are kept.
        StoreError: The store cannot be written.
    """
    check_layers(len(image.layers), limits)
    allow_files(len({layer.diff_id for layer in image.layers}))
    codec = make_codec(compression)
    if not all(has_pack(store, layer.diff_id) for layer in image.layers):
        source.read_through(image.digest)
    progress = CancellableProgress(progress)
    slots = TransferSlots(_PARALLEL_LAYERS)
    with ExitStack() as opened, Workers() as workers, Threads(2 * _PARALLEL_LAYERS, stop=progress.stop) as threads:
        layers = {layer.diff_id: layer for layer in image.layers}
        budget = ImageBudget(limits, sum(layer.descriptor.size for layer in layers.values()))
        maker = _Maker(source, store, codec, workers, limits, progress, slots, budget, remotes)
        # Start the largest layer first: if it were started last, it would still run alone after the others are done.
        order = sorted(layers.values(), key=lambda layer: layer.descriptor.size, reverse=True)
        futures = {threads.submit(maker.find_or_make, layer): layer.diff_id for layer in order}
        packs: dict[str, Pack] = {}
        try:
            for future in as_they_end(futures):
                packs[futures[future]] = opened.enter_context(future.result())
        except BaseException as error:
            threads.shutdown(wait=False, cancel_futures=True)
            slots.close()
            if not isinstance(error, Exception):
                progress.stop()
            raise
        opened.pop_all()
    if remotes is not None:
        remotes.push(maker.made)
    return [packs[layer.diff_id] for layer in image.layers]


class _Maker(msgspec.Struct, frozen=True):
    """Finds or makes the pack of one layer."""

    source: Source
    store: Store
    codec: Codec
    workers: Workers
    limits: Limits
    progress: Progress
    slots: TransferSlots
    budget: ImageBudget
    remotes: RemotePacks | None
    made: list[str] = msgspec.field(default_factory=list)

    def find_or_make(self, layer: Layer) -> Pack:
        key = pack_key(layer.diff_id, self.codec)
        stored = PackFinder(self.store, self.codec, self.workers, self.progress, self.limits)
        found = stored.find_encoded(layer.diff_id) or self._find_foreign(stored, key)
        if found is None:
            with self.store.lock(key):
                # Another process may have made it while we waited for the lock.
                found = stored.find_encoded(layer.diff_id) or self._find_foreign(stored, key)
                if found is None:
                    return stored.repack(layer.diff_id) or self._make(layer, key)
        label = short(layer.descriptor.digest)
        self.progress.task(label, layer.descriptor.size).finish("in store")
        return found

    def _find_foreign(self, stored: PackFinder, key: str) -> Pack | None:
        """Return a pack of another encoder from the store, where that is set."""
        if self.remotes is None or not self.remotes.takes_foreign:
            return None
        alike = (other for other in self.store.packs.keys(key.partition("-")[0]) if is_alike(other, key))
        return next((pack for other in alike if (pack := stored.open(other)) is not None), None)

    def _make(self, layer: Layer, key: str) -> Pack:
        if (fetched := self._fetch(layer, key)) is not None:
            return fetched
        try:
            made = None
            while made is None:
                made = self._write(layer, key)
        except SifmakeError as error:
            placed = error.within(f"{self.source.name}: layer {short(layer.descriptor.digest)}")
            raise placed.advised(_DAMAGED_LAYER if isinstance(error, IntegrityError) else "") from None
        self.made.append(key)
        return load_pack(made.path, made.fd, key)

    def _fetch(self, layer: Layer, key: str) -> Pack | None:
        """Return the pack from a remote store; None if there is none."""
        if self.remotes is None:
            return None
        from sifmake.remote.remote_packs import Transfer

        keys = [key]
        if not has_fixed_bytes(self.codec.name):
            keys.append(pack_key(layer.diff_id, make_codec(DEFAULT_COMPRESSION)))  # most packs there are of builds
        with self.slots.acquire() as slot:
            transfer = Transfer(layer.descriptor.size, self.progress, slot.watch)
            packs = (self.remotes.fetch(some, transfer) for some in keys)
            return next((pack for pack in packs if pack is not None), None)

    def _write(self, layer: Layer, key: str) -> Found | None:
        """Write a pack from the source's bytes; return None if they were wrong but another place may be right."""
        from sifmake.layers.pack_writer import write_pack

        size = layer.descriptor.size
        try:
            with self.slots.acquire() as slot, self.source.open_layer(layer) as reader:
                task = self.progress.task(short(layer.descriptor.digest), size)
                bytes_read = slot.watch(reader, size)
                parts = (layer, self.codec, self.workers, self.limits, task, self.budget)
                made = self.store.packs.write(key, lambda file: write_pack(file, bytes_read, *parts))
        except WrongBlobError as error:
            if not error.elsewhere:
                raise
            task.finish("wrong bytes, fetched again")
            return None
        task.finish()
        return made


def close_packs(packs: Sequence[Pack]) -> None:
    """Close packs, each once, because a layer that occurs twice in an image is one pack."""
    for pack in {id(pack): pack for pack in packs}.values():
        pack.close()


def flatten_packs(
    packs: Sequence[Pack],
    image: Image,
    progress: Progress,
    limits: Limits = DEFAULT_LIMITS,
    path: Path | None = None,
) -> Flattened:
    """Merge the layers of an image into one tree, take its listing, and report warnings.

    The tree file is written if a path is given.

    Raises:
        FlattenError: They cannot be merged.
        LimitError: Their paths pass through too many folders.
    """
    flattened = flatten(packs, epoch_of(image), limits, path)
    _warn_of_merge(flattened, progress)
    return flattened


def merge_packs(packs: Sequence[Pack], image: Image, progress: Progress, limits: Limits = DEFAULT_LIMITS) -> Merged:
    """Merge the layers as :func:`flatten_packs` does, without a listing."""
    merged = merge(packs, epoch_of(image), limits)
    _warn_of_merge(merged, progress)
    return merged


def _warn_of_merge(merged: Merged, progress: Progress) -> None:
    for warning in merged.warnings:
        progress.warning(warning)


def write_sif(
    target: Path | OpenTarget,
    merged: Merged,
    packs: Sequence[Pack],
    image: Image,
    origin: rootfs.Origin,
    settings: BuildSettings,
    progress: Progress,
    store: Store | None = None,
) -> SifSummary:
    """Write an unsigned SIF file beside ``target`` and rename it; this consumes the tree.

    An open file is written, and neither synced nor renamed. Patches in the store make the next image on the same layers
    faster; they do not change the bytes.

    Raises:
        SifmakeError: The image does not fit into squashfs or SIF, or a pack is damaged.
    """
    # Imported here so that earlier stages, which run in processes of their own, do not load them.
    from sifmake import rootfs
    from sifmake.assembly.image import write_sif as write_image

    epoch = epoch_of(image)
    prepared = rootfs.prepare(merged.tree, image, origin, settings.labels, epoch, partial(_read_head, packs))
    for warning in prepared.warnings:
        progress.warning(warning)
    if merged.tree.resolve(b"bin/sh") is None:
        progress.info(f"{origin.name}: {_NO_SHELL}")
    contents = _contents(prepared, merged, packs, image)
    path = target.path if isinstance(target, OpenTarget) else target
    task = progress.task(f"writing {path.name}", sum(pack.footer.data_size for pack in packs))
    with Workers() as workers:
        summary = write_image(target, contents, make_codec(settings.compression), workers, task, store)
    task.finish()
    for warning in summary.warnings:
        progress.warning(warning)
    return summary


def _contents(prepared: rootfs.Prepared, merged: Merged, packs: Sequence[Pack], image: Image) -> SifContents:
    from sifmake.assembly.image import Document, SifContents
    from sifmake.sif import DataType

    return SifContents(
        before=[
            Document(DataType.DEFINITION, "", prepared.objects.deffile),
            Document(DataType.GENERIC_JSON, "inspect-metadata.json", prepared.objects.inspect),
            Document(DataType.GENERIC_JSON, "oci-config.json", prepared.objects.oci_config),
        ],
        after=[Document(DataType.GENERIC_JSON, "oci-manifest.json", image.manifest)],
        tree=merged.tree,
        files=prepared.files,
        packs=packs,
        architecture=prepared.architecture,
        mkfs_time=epoch_of(image),
    )


def epoch_of(image: Image) -> int:
    """Return the image's ``created`` as seconds since 1970; 0 if it has none, or one that squashfs cannot hold."""
    from sifmake.rootfs import parse_created

    created = parse_created(image.config.created)
    if created is None:
        return 0
    return min(max(int(created.timestamp()), 0), 0xFFFFFFFF)


def _read_head(packs: Sequence[Pack], inode: Inode, size: int) -> bytes:
    if inode.content < 0:
        return b""
    pack = packs[inode.layer]
    return pack.read_content(pack.contents[inode.content], size)
