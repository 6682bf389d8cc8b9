"""Layers of build steps in remote stores: notes and packs.

A pack proves that it is the layer of its DiffID. Nothing proves that a step gave this layer, so a note from a remote
store counts only if a trusted key signed it, or if the lock of the steps names the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.layers.codec import make_codec
from sifmake.layers.pack_format import pack_key
from sifmake.limits import DEFAULT_LIMITS
from sifmake.remote.remote_packs import Transfer, unwatched
from sifmake.steps.step_notes import MOST_BYTES, find_note, foreign_note, keep_foreign, note_bytes, signed_notes
from sifmake.store.naming import BLOBS, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sifmake.layers.pack_reader import Pack
    from sifmake.progress import Progress
    from sifmake.remote.remote_packs import RemotePacks
    from sifmake.steps.step_notes import StepNote
    from sifmake.store import Store


@dataclass
class RemoteSteps:
    """What a build takes from remote stores, and gives to them.

    Attributes:
        remotes: The remote stores.
        store: Gets notes and packs.
        compression: Compression of the packs.
        progress: Receives the progress of transfers.
    """

    remotes: RemotePacks
    store: Store
    compression: str
    progress: Progress
    _made: dict[str, StepNote] = field(default_factory=dict, init=False)

    def fetch_notes(self, key: str) -> bool:
        """Put the notes of a step into the store, where they count only if something proves them; tell if any came."""
        kept = [keep_foreign(self.store, key, data) for data in self.remotes.fetch_notes(key, MOST_BYTES)]
        return any(kept)

    def fetch_list(self, digest: str) -> bytes | None:
        """Return a list of files, which is then in the store; None if no remote store has it."""
        data = self.remotes.fetch_blob(digest, DEFAULT_LIMITS.config_bytes)
        if data is not None:
            self.store.blobs.put(digest, data)
        return data

    def fetch_pack(self, diff_id: str) -> Pack | None:
        """Return the pack of a layer, which is then in the store; None if no remote store has it.

        Raises:
            StoreError: The store cannot be written.
        """
        key = pack_key(diff_id, make_codec(self.compression))
        return self.remotes.fetch(key, Transfer(0, self.progress, unwatched))

    def note(self, note: StepNote) -> None:
        """Remember that a step ran here."""
        self._made[note.key] = note

    def push(self, lists: Mapping[str, str]) -> None:
        """Upload the steps that ran here, where that is set; a failure is only a warning.

        Args:
            lists: Digests of the lists of their files in the store, by the keys of steps.
        """
        codec = make_codec(self.compression)
        self.remotes.push([pack_key(note.diff_id, codec) for note in self._made.values()])
        notes = {key: shared_note(self.store, key, note.diff_id) for key, note in self._made.items()}
        shared = {key: data for key, data in notes.items() if data}
        self.remotes.push_documents(STEPS, shared)
        self.remotes.push_documents(BLOBS, stored_lists(self.store, (lists.get(key, "") for key in shared)))
        self._made.clear()


def stored_lists(store: Store, digests: Iterable[str]) -> dict[str, bytes]:
    """Return the lists of files that a store has, by their digests; empty digests are of no list."""
    found = {digest: store.blobs.get(digest) for digest in digests if digest}
    return {digest: data for digest, data in found.items() if data is not None}


def shared_note(store: Store, key: str, diff_id: str) -> bytes:
    """Return the note that a step gave a layer, signed if that is possible; empty if there is none for others.

    Args:
        store: The store.
        key: Key of the step.
        diff_id: DiffID of its layer.
    """
    own = find_note(store, key)
    if own is None or own.faked or own.diff_id != diff_id:
        return b""
    plain = note_bytes(own)
    name, _ = foreign_note(key, plain)
    signed = (data for data in signed_notes(store, key) if foreign_note(key, data)[0].startswith(name))
    return next(signed, plain)
