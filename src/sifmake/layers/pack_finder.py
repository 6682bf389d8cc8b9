"""Find packs in a store: open them, or make them from packs of another codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.block_compression import has_fixed_bytes
from sifmake.errors import PackDamagedError
from sifmake.layers.pack_format import FIRST_VERSION, has_blocks, pack_key, pack_key_prefix
from sifmake.layers.pack_reader import Pack, load_pack

if TYPE_CHECKING:
    from sifmake.layers.blocks import Workers
    from sifmake.layers.codec import Codec
    from sifmake.limits import Limits
    from sifmake.progress import Progress
    from sifmake.store import Store

_SHOWN = 19
"""Characters of a DiffID to show, algorithm included."""


class PackFinder:
    """The packs of one codec in a store.

    Args:
        store: Where they are.
        codec: Codec of the wanted packs.
        workers: Threads to compress on.
        progress: Receives messages about damaged packs and about packs that are being repacked.
        limits: Bounds on a layer, for packs that have to prove themselves.
    """

    def __init__(self, store: Store, codec: Codec, workers: Workers, progress: Progress, limits: Limits) -> None:
        self._store = store
        self._codec = codec
        self._workers = workers
        self._progress = progress
        self._limits = limits

    def find(self, diff_id: str) -> Pack | None:
        """Return the pack of a layer, made from one with another codec if necessary; None if there is neither."""
        return self.find_encoded(diff_id) or self.repack(diff_id)

    def find_encoded(self, diff_id: str) -> Pack | None:
        """Return the pack of a layer with the wanted codec, of the present or an earlier format; None if none.

        If the codec promises no bytes, any pack with blocks of its format will do.
        """
        found = self.open(pack_key(diff_id, self._codec)) or self._of_first_format(diff_id)
        return self._alike(diff_id) if found is None and not has_fixed_bytes(self._codec.name) else found

    def _alike(self, diff_id: str) -> Pack | None:
        """Return a pack of the present format by any encoder, if squashfs knows its blocks by the wanted name."""
        keys = sorted(self._store.packs.keys(pack_key_prefix(diff_id)), reverse=True)  # gzip before fast
        wanted = (key for key in keys if has_blocks(key, self._codec.format))
        return next((pack for key in wanted if (pack := self.open(key)) is not None), None)

    def _of_first_format(self, diff_id: str) -> Pack | None:
        """Return a pack of format 1 that has the data of a new one; others would give other SIF files."""
        pack = self.open(pack_key(diff_id, self._codec, FIRST_VERSION))
        if pack is None:
            return None
        try:
            if not pack.has_dead_blocks():
                return pack
        except PackDamagedError as error:
            self._drop(pack.key, error)
        pack.close()
        return None

    def open(self, key: str) -> Pack | None:
        """Return the pack with a key, or None; a damaged pack is removed from the store.

        A pack of a user who is not trusted is used if it proves itself.
        """
        found = self._store.packs.open_trusted(key)
        if found is None:
            return self._adopted(key)
        try:
            return load_pack(found.path, found.fd, key)
        except PackDamagedError as error:
            self._drop(key, error)
            return None

    def _drop(self, key: str, error: PackDamagedError) -> None:
        self._progress.warning(f"{error}; it will be rebuilt")
        self._store.packs.drop(key)

    def _adopted(self, key: str) -> Pack | None:
        for found in self._store.packs.open_untrusted(key):
            from sifmake.layers.pack_adoption import adopt_pack

            try:
                pack = adopt_pack(self._store, found, key, self._limits)
            except (PackDamagedError, OSError) as error:
                why = error.what if isinstance(error, PackDamagedError) else error.strerror
                self._progress.warning(f"{found.path} is not used: {found.distrust}, and {why}")
                continue
            self._progress.info(f"{found.path}: {found.distrust}, but it proves itself; the store has a copy now")
            return pack
        return None

    def repack(self, diff_id: str) -> Pack | None:
        """Make the pack of a layer from one of another codec or encoder, so that nothing has to be downloaded."""
        key = pack_key(diff_id, self._codec)
        for other in self._store.packs.keys(pack_key_prefix(diff_id)):
            old = self.open(other) if other != key else None
            if old is None:
                continue
            try:
                with old:
                    return self._repacked(diff_id, key, old)
            except PackDamagedError as error:
                self._progress.warning(f"{error}; the layer will be downloaded again")
                self._store.packs.drop(other)
        return None

    def _repacked(self, diff_id: str, key: str, old: Pack) -> Pack:
        from sifmake.layers.repack import repack

        task = self._progress.task(f"repacking {diff_id[:_SHOWN]}", old.footer.data_size)
        made = self._store.packs.write(key, lambda file: repack(file, old, self._codec, self._workers, task))
        task.finish()
        return load_pack(made.path, made.fd, key)
