"""Packs from remote stores, for a build: found, fetched, checked, and only then in the store under their names."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sifmake.errors import IntegrityError, PackDamagedError, SifmakeError, SigningError, SourceError
from sifmake.layers.image_budget import check_index_size
from sifmake.layers.members import most_bytes
from sifmake.layers.pack_format import is_alike
from sifmake.layers.pack_proof import prove_pack
from sifmake.layers.pack_reader import load_pack
from sifmake.registry.error_responses import NotFoundError
from sifmake.remote.settings import is_pull_request
from sifmake.store.naming import PACKS, STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Sized

    from sifmake.layers.pack_reader import Pack
    from sifmake.limits import Limits
    from sifmake.progress import Progress, Task
    from sifmake.remote.place import Offer, PackPlace
    from sifmake.remote.settings import RemoteSettings
    from sifmake.sources.base import BlobReader
    from sifmake.sources.settings import SourceSettings
    from sifmake.store import Store

_CHUNK = 1 << 20
_SHOWN = 12
_LARGE_INDEX = 4 << 20
"""Packs with a larger index are proven one at a time, because each may take the memory of a large layer."""
_FACTOR, _ADDITION = 4, 64 << 20
"""Largest pack of a layer, for each compressed byte of it and in addition; 0.97 to 1.5 for each was measured."""
_MOST_FOREIGN = 4
"""Packs of other encoders to ask for."""
_NOT_ASKED = "it is not asked again in this run; what it would have given comes from elsewhere"


@dataclass(frozen=True)
class Transfer:
    """How the transfer of a pack is bounded and reported.

    Attributes:
        layer_size: Compressed bytes of the layer, which bound the size of its pack.
        progress: Receives the progress.
        watch: Returns a reader of the same bytes; see :meth:`~sifmake.builder.transfer_slots.TransferSlot.watch`.
    """

    layer_size: int
    progress: Progress
    watch: Callable[[BlobReader, int], BlobReader]


def unwatched(reader: BlobReader, _: int) -> BlobReader:
    """Return the reader; for transfers that wait for nobody."""
    return reader


class RemotePacks:
    """All remote stores of a run; several threads may use it.

    Args:
        remotes: The places, in the order in which they are asked.
        store: Gets the packs.
        settings: Registries, credentials, limits; gets warnings.
        left_alone: Addresses that failed in this run; is added to.
    """

    def __init__(
        self, remotes: Sequence[RemoteSettings], store: Store, settings: SourceSettings, left_alone: set[str]
    ) -> None:
        self._store = store
        self._settings = settings
        self._left_alone = left_alone
        self._large = threading.Lock()
        self._places = [(remote, _open_place(remote, settings)) for remote in remotes]

    @property
    def takes_foreign(self) -> bool:
        """Whether packs of other encoders are used."""
        return any(remote.foreign for remote, _ in self._places)

    def fetch(self, key: str, transfer: Transfer) -> Pack | None:
        """Return the pack of a key, which is then in the store; None if no place has it.

        Where that is set, the pack may be that of another encoder, with a key of its own.

        Args:
            key: The key.
            transfer: Bounds and reports the transfer.

        Raises:
            StoreError: The store cannot be written.
            OSError: From writing.
        """
        for take in (self._take, self._take_foreign):
            for remote, place in self._asked():
                try:
                    pack = take(remote, place, key, transfer)
                except NotFoundError:
                    continue
                except (SourceError, PackDamagedError, SigningError) as error:
                    self._leave_alone(remote, error)
                    continue
                if pack is not None:
                    return pack
        return None

    def fetch_notes(self, key: str, most: int) -> Iterator[bytes]:
        """Yield the notes of a step that places have; nothing proves them.

        Args:
            key: Key of the step.
            most: Most bytes of a note.
        """
        for remote, place in self._asked():
            try:
                yield self._note(place, key, most)
            except NotFoundError:
                continue
            except SourceError as error:
                self._leave_alone(remote, error)

    def push(self, keys: Sequence[str]) -> None:
        """Upload packs that were made here to the places that are set to get them; a failure is only a warning."""
        from sifmake.remote.pushing import push_packs

        self._push(keys, lambda remote: push_packs(keys, self._store, remote, self._settings))

    def push_notes(self, notes: Mapping[str, bytes]) -> None:
        """Upload notes on steps by their keys, like :meth:`push`."""
        from sifmake.remote.pushing import push_notes

        self._push(notes, lambda remote: push_notes(notes, remote, self._settings))

    def _push(self, what: Sized, upload: Callable[[RemoteSettings], object]) -> None:
        if not what or is_pull_request():
            return
        for remote, _ in self._asked():
            if not remote.push:
                continue
            try:
                upload(remote)
            except (SifmakeError, OSError) as error:
                self._leave_alone(remote, error)

    def close(self) -> None:
        """Close all connections."""
        for _, place in self._places:
            place.close()

    def _asked(self) -> Iterator[tuple[RemoteSettings, PackPlace]]:
        """Yield the places that have not failed in this run."""
        yield from (item for item in self._places if item[0].uri not in self._left_alone)

    def _note(self, place: PackPlace, key: str, most: int) -> bytes:
        offer = place.find(STEPS, key)
        if offer is None:
            raise NotFoundError("there is no note on this step")
        with offer.open(most) as body:
            data = b"".join(iter(lambda: body.read(_CHUNK), b""))
        if len(data) != body.size:
            raise IntegrityError("the note did not arrive completely", where=key)
        return data

    def _leave_alone(self, remote: RemoteSettings, error: Exception) -> None:
        """Warn once, however many threads find out at the same time."""
        before = len(self._left_alone)
        self._left_alone.add(remote.uri)
        if len(self._left_alone) > before:
            self._settings.progress.warning(f"remote store {remote.uri}: {error}; {_NOT_ASKED}")

    def _take(self, remote: RemoteSettings, place: PackPlace, key: str, transfer: Transfer) -> Pack | None:
        offer = place.find(PACKS, key)
        if offer is None:
            return None
        signed, limits = self._signed(remote, offer, key) if remote.signed else "", self._settings.limits
        with offer.open(_most_bytes(transfer.layer_size, limits)) as body:
            task = transfer.progress.task(key[:_SHOWN], body.size)
            arrival = _Arrival(key, body.size, transfer.watch(body, body.size), task, self._large)
            made = self._store.packs.write(key, lambda file: arrival.write(file, signed, limits))
        task.finish(f"from {remote.host}")
        return load_pack(made.path, made.fd, key)

    def _signed(self, remote: RemoteSettings, offer: Offer, key: str) -> str:
        """Return the SHA-256 that a trusted key has signed for a pack, hexadecimal."""
        from sifmake.remote.pack_statement import signed_sha256
        from sifmake.signing import TrustStore

        return signed_sha256(offer.statement(), key, TrustStore.load(remote.keys))

    def _take_foreign(self, remote: RemoteSettings, place: PackPlace, key: str, transfer: Transfer) -> Pack | None:
        if not remote.foreign:
            return None
        alike = [other for other in place.list_keys() if is_alike(other, key)]
        packs = (self._take(remote, place, other, transfer) for other in sorted(alike)[:_MOST_FOREIGN])
        found = next((pack for pack in packs if pack is not None), None)
        if found is not None:
            transfer.progress.info(f"{found.key}: by another encoder, so the SIF file differs from a local build")
        return found


@dataclass(frozen=True)
class _Arrival:
    """A pack on its way.

    Attributes:
        key: The key that it must have.
        size: The bytes that it must have.
        reader: Its bytes.
        task: Receives the progress.
        large: Held while a pack with a large index is proven.
    """

    key: str
    size: int
    reader: BlobReader
    task: Task
    large: threading.Lock

    def write(self, file: BinaryIO, signed: str, limits: Limits) -> None:
        """Write it to a file that has no name in the store yet, and check it there.

        Without a signature, neither the digest of the blob nor a checksum proves anything: the rebuilt layer does.

        Args:
            file: The file, which nobody else can write to.
            signed: The SHA-256 that a trusted key has signed, hexadecimal; empty to prove the pack by its content.
            limits: Limits of that proof.

        Raises:
            SourceError: It does not arrive, or has another size or digest.
            PackDamagedError: It is not the pack of its layer.
        """
        total, size = hashlib.sha256(), 0
        while data := self.reader.read(_CHUNK):
            if signed:
                total.update(data)
            size += len(data)
            file.write(data)
            self.task.advance(len(data))
        if size != self.size:
            raise IntegrityError(f"{size} bytes of the pack arrived, and not {self.size}", where=self.key)
        if signed and total.hexdigest() != signed:
            raise IntegrityError("the pack is not the one that was signed", where=self.key)
        file.flush()
        with load_pack(Path(self.key), os.dup(file.fileno()), self.key) as pack:
            check_index_size(pack.footer.index_size, self.size, limits)
            if signed:
                pack.check_data()
            else:
                with self.large if pack.footer.index_size > _LARGE_INDEX else nullcontext():
                    prove_pack(pack, limits, self.task)


def _most_bytes(layer_size: int, limits: Limits) -> int:
    """Return the most bytes of the pack of a layer: far more than another compression of the same files takes."""
    most = most_bytes(layer_size, limits)
    return min(most, _FACTOR * layer_size + _ADDITION) if layer_size else most


def _open_place(remote: RemoteSettings, settings: SourceSettings) -> PackPlace:
    if remote.is_registry:
        from sifmake.remote.registry_place import RegistryPlace

        return RegistryPlace(remote, settings)
    from sifmake.remote.web_place import WebPlace

    return WebPlace(remote, settings)
