"""The packs of one image: fetched on first use, kept open, dropped if they are damaged."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from sifmake.builder import image_build
from sifmake.builder.damaged_packs import drop_damaged
from sifmake.builder.image_room import check_image_room
from sifmake.errors import PackDamagedError
from sifmake.layers.codec import make_codec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sifmake.assembly.image import SifSummary
    from sifmake.builder.builder import Builder
    from sifmake.errors import SifmakeError
    from sifmake.files import OpenTarget
    from sifmake.flatten.flattened import Flattened, Merged
    from sifmake.layers.pack_reader import Pack
    from sifmake.oci.model import Image
    from sifmake.places import Place
    from sifmake.progress import Progress
    from sifmake.rootfs import Origin
    from sifmake.sources.base import Source


class ImagePacks:
    """One image with its packs.

    Args:
        builder: Provides the store.
        source: Provides what the store lacks.
        load: Returns the image.
        compression: Compression of the packs.
        progress: Receives the progress of downloads on first use.
        outputs: The files that get the SIF image, as the user knows them.
    """

    def __init__(
        self,
        builder: Builder,
        source: Source,
        load: Callable[[], Image],
        compression: str,
        progress: Progress,
        outputs: Sequence[Place] = (),
    ) -> None:
        self._builder = builder
        self._source = source
        self._load = load
        self._compression = compression
        self._progress = progress
        self._outputs = outputs

    @cached_property
    def image(self) -> Image:
        """Manifest and config."""
        return self._load()

    @cached_property
    def packs(self) -> list[Pack]:
        """The packs of the layers; packs that the store lacks are fetched."""
        return self.fetch(self._progress)

    def fetch(self, progress: Progress) -> list[Pack]:
        """Return the layers' packs, and report each of them, including those in the store.

        Raises:
            NoRoomError: There is not enough room for the packs and the SIF file.
            SifmakeError: See :func:`~sifmake.builder.image_build.fetch_packs`.
        """
        builder = self._builder
        check_image_room(self.image, builder.store, self._outputs, progress)
        parts = (builder.store, self._compression, builder.settings.limits, progress, builder.remotes)
        packs = image_build.fetch_packs(self._source, self.image, *parts)
        vars(self)["packs"] = packs
        return packs

    def foreign(self) -> list[str]:
        """Return the keys of packs that another encoder made, so that the SIF file has other bytes than usual."""
        compression = self._compression
        return foreign_keys(self.packs, compression) if self._builder.takes_foreign(compression) else []

    def flatten(self, path: Path | None = None) -> Flattened:
        """Merge the packs into one tree and take its listing, into a tree file if a path is given."""
        settings = self._builder.settings
        return image_build.flatten_packs(self.packs, self.image, settings.progress, settings.limits, path)

    def merge(self) -> Merged:
        """Merge the packs into one tree."""
        settings = self._builder.settings
        return image_build.merge_packs(self.packs, self.image, settings.progress, settings.limits)

    def write_sif(
        self, target: Path | OpenTarget, merged: Merged, origin: Origin, labels: dict[str, str]
    ) -> SifSummary:
        """Write the unsigned SIF file; this consumes the tree."""
        settings = image_build.BuildSettings(self._compression, labels)
        told, store = self._builder.settings.progress, self._builder.store
        return image_build.write_sif(target, merged, self.packs, self.image, origin, settings, told, store)

    def drop_damaged(self, error: SifmakeError) -> bool:
        """After an error, remove damaged packs from the store and close all packs; return whether to try again."""
        packs = vars(self).get("packs")
        if packs is None:
            return isinstance(error, PackDamagedError)
        damaged = drop_damaged(packs, self._builder.store, error)
        if damaged:
            self.close()
        return damaged

    def close(self) -> None:
        """Close the packs."""
        image_build.close_packs(vars(self).pop("packs", []))


def foreign_keys(packs: Sequence[Pack], compression: str) -> list[str]:
    """Return the keys of the packs that another encoder made."""
    own = make_codec(compression).encoder
    return sorted({pack.key for pack in packs if pack.meta.encoder != own})
