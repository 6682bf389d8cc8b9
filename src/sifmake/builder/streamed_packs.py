"""Packs of layers that are read before it is known which image they belong to.

An archive that is read as a stream may name its layers last. Each layer becomes a pack under a temporary name at once.
When the image's DiffIDs are known, its packs get their names in the store, and the others are removed.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from sifmake.errors import PackDamagedError

if TYPE_CHECKING:
    from collections.abc import Collection

    from sifmake.layers.codec import Codec
    from sifmake.layers.image_budget import ImageBudget
    from sifmake.limits import Limits
    from sifmake.progress import Progress, Task
    from sifmake.sources.base import LayerCandidate, LayerFacts
    from sifmake.store import Store

_HEX = re.compile(r"(?:^|/)([0-9a-f]{64})(?:\.tar|/layer\.tar)?\Z")
"""Names of layers in archives; many contain the DiffID."""


class StreamedPacks:
    """A sink that makes packs of layers. The modules for that are imported with the first layer."""

    def __init__(self, store: Store, compression: str, limits: Limits, progress: Progress) -> None:
        self._store = store
        self._compression = compression
        self._limits = limits
        self._progress = progress
        self._made: dict[str, str] = {}

    def take(self, candidate: LayerCandidate) -> LayerFacts:
        """Make a pack of one layer; if the store has it, only read and check the layer.

        Raises:
            IntegrityError: It is not a layer, or is damaged.
            StoreError: The store cannot be written.
        """
        from sifmake.sources.measuring import measure

        named = _HEX.search(candidate.name)
        label = named[1][:12] if named else candidate.name.rpartition("/")[2]
        task = self._progress.task(label, candidate.size)
        if named and has_pack(self._store, f"sha256:{named[1]}"):
            head, reader = candidate.head, candidate.reader
            passed = measure(reader, head, candidate.algorithm, self._limits, task.advance)
            task.finish("in store")
            return passed
        passed = self._pack(candidate, task)
        task.finish()
        return passed

    def keep(self, diff_ids: Collection[str]) -> None:
        """Move the packs of these layers into the store, and remove the others."""
        from sifmake.layers.pack_format import pack_key

        for diff_id in self._made.keys() & diff_ids:
            self._store.packs.place(self._made[diff_id], pack_key(diff_id, self._codec))
            del self._made[diff_id]
        self.drop()

    def drop(self) -> None:
        """Remove the packs that were not kept."""
        while self._made:
            self._store.packs.drop_temporary(self._made.popitem()[1])

    @cached_property
    def _codec(self) -> Codec:
        from sifmake.layers.codec import make_codec

        return make_codec(self._compression)

    @cached_property
    def _budget(self) -> ImageBudget:
        from sifmake.layers.image_budget import ImageBudget

        return ImageBudget(self._limits)

    def _pack(self, candidate: LayerCandidate, task: Task) -> LayerFacts:
        from sifmake.layers.blocks import Workers
        from sifmake.layers.pack_writer import write_passing

        with Workers() as workers:
            name, passed = self._store.packs.write_temporary(
                lambda file: write_passing(file, candidate, self._codec, workers, self._limits, task, self._budget)
            )
        if passed.diff_id in self._made:
            self._store.packs.drop_temporary(name)
        else:
            self._made[passed.diff_id] = name
        return passed


def has_pack(store: Store, diff_id: str) -> bool:
    """Tell whether a store has a pack of a layer, with any codec, because the others can be made from it."""
    from sifmake.layers.pack_format import pack_key_prefix

    return any(_is_pack(store, key) for key in store.packs.keys(pack_key_prefix(diff_id)))


def _is_pack(store: Store, key: str) -> bool:
    """Tell whether a file with a pack's name is that pack, because a streamed layer cannot be read a second time."""
    from sifmake.layers.pack_reader import load_pack

    found = store.packs.open_trusted(key)
    try:
        if found is not None:
            load_pack(found.path, found.fd, key).close()
    except (OSError, PackDamagedError):
        return False
    return found is not None
