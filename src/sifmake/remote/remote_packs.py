"""Packs from remote stores, for a build: found, fetched, checked, and only then in the store under their names."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError, PackDamagedError, SifmakeError, SigningError, SourceError
from sifmake.layers.pack_format import is_alike
from sifmake.layers.pack_reader import load_pack
from sifmake.oci.digest import check_bytes
from sifmake.remote.settings import is_pull_request
from sifmake.store.naming import BLOBS, PACKS, STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence, Sized

    from sifmake.layers.pack_reader import Pack
    from sifmake.progress import Progress
    from sifmake.remote.place import Offer, PackPlace
    from sifmake.remote.settings import RemoteSettings
    from sifmake.sources.base import BlobReader
    from sifmake.sources.settings import SourceSettings
    from sifmake.store import Store

_CHUNK = 1 << 20
_SHOWN = 12
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

    What talks to registries and checks packs is imported when a pack is missing.

    Args:
        remotes: The places, in the order in which they are asked.
        store: Gets the packs.
        settings: Registries, credentials, limits; gets warnings.
        left_alone: Addresses that failed in this run; is added to.
    """

    def __init__(
        self, remotes: Sequence[RemoteSettings], store: Store, settings: SourceSettings, left_alone: dict[str, object]
    ) -> None:
        self._remotes = tuple(remotes)
        self._store = store
        self._settings = settings
        self._left_alone = left_alone
        self._large = threading.Lock()
        self._opening = threading.Lock()

    @property
    def takes_foreign(self) -> bool:
        """Whether packs of other encoders are used."""
        return any(remote.foreign for remote in self._remotes)

    def fetch(self, key: str, transfer: Transfer) -> Pack | None:
        """Return the pack of a key, which is then in the store; None if no place has it.

        Where that is set, the pack may be that of another encoder, with a key of its own.

        Args:
            key: The key.
            transfer: Bounds and reports the transfer.

        Raises:
            StoreError: The store cannot be written.
            OSError: From writing.
            ConfigError: A place may not be used.
        """
        from sifmake.registry.error_responses import NotFoundError

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
        from sifmake.registry.error_responses import NotFoundError

        for remote, place in self._asked():
            try:
                note = self._document(place, STEPS, key, most)
            except NotFoundError:
                continue
            except SourceError as error:
                self._leave_alone(remote, error)
                continue
            if note is not None:
                yield note

    def fetch_blob(self, digest: str, most: int) -> bytes | None:
        """Return a blob, which has its digest; None if no place has it.

        Args:
            digest: Its SHA-256.
            most: Most bytes of it.
        """
        from sifmake.registry.error_responses import NotFoundError

        for remote, place in self._asked():
            try:
                data = self._document(place, BLOBS, digest, most)
                if data is not None:
                    return check_bytes(data, digest)
            except NotFoundError:
                continue
            except SourceError as error:
                self._leave_alone(remote, error)
        return None

    def push(self, keys: Sequence[str]) -> None:
        """Upload packs that were made here to the places that are set to get them; a failure is only a warning."""

        def upload(remote: RemoteSettings) -> object:
            from sifmake.remote.pushing import push_packs

            return push_packs(keys, self._store, remote, self._settings)

        self._push(keys, upload)

    def push_documents(self, kind: str, documents: Mapping[str, bytes]) -> None:
        """Upload notes on steps or lists of files, like :meth:`push`; see :func:`~.pushing.push_documents`."""

        def upload(remote: RemoteSettings) -> object:
            from sifmake.remote.pushing import push_documents

            return push_documents(kind, documents, remote, self._settings)

        self._push(documents, upload)

    def _push(self, what: Sized, upload: Callable[[RemoteSettings], object]) -> None:
        if not what or is_pull_request():
            return
        for remote in self._remotes:
            if not remote.push or remote.uri in self._left_alone:
                continue
            try:
                upload(remote)
            except (SifmakeError, OSError) as error:
                self._leave_alone(remote, error)

    def close(self) -> None:
        """Close all connections."""
        for place in self._places.values():
            place.close()

    @cached_property
    def _places(self) -> dict[RemoteSettings, PackPlace]:
        return {remote: _open_place(remote, self._settings) for remote in self._remotes}

    def _asked(self) -> Iterator[tuple[RemoteSettings, PackPlace]]:
        """Yield the places that have not failed in this run."""
        with self._opening:
            places = self._places
        yield from (item for item in places.items() if item[0].uri not in self._left_alone)

    def _document(self, place: PackPlace, kind: str, key: str, most: int) -> bytes | None:
        offer = place.find(kind, key)
        if offer is None:
            return None
        with offer.open(most) as body:
            data = b"".join(iter(lambda: body.read(_CHUNK), b""))
        if len(data) != body.size:
            raise IntegrityError("the file did not arrive completely", where=key)
        return data

    def _leave_alone(self, remote: RemoteSettings, error: Exception) -> None:
        """Warn once, however many threads find out at the same time."""
        mark = object()
        if self._left_alone.setdefault(remote.uri, mark) is mark:
            self._settings.progress.warning(f"remote store {remote.uri}: {error}; {_NOT_ASKED}")

    def _take(self, remote: RemoteSettings, place: PackPlace, key: str, transfer: Transfer) -> Pack | None:
        offer = place.find(PACKS, key)
        if offer is None:
            return None
        from sifmake.remote.pack_arrival import PackArrival, most_pack_bytes

        signed, limits = self._signed(remote, offer, key) if remote.signed else "", self._settings.limits
        with offer.open(most_pack_bytes(transfer.layer_size, limits)) as body:
            task = transfer.progress.task(key[:_SHOWN], body.size)
            arrival = PackArrival(key, body.size, transfer.watch(body, body.size), task, self._large)
            made = self._store.packs.write_unproven(key, lambda file: arrival.write(file, signed, limits))
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


def _open_place(remote: RemoteSettings, settings: SourceSettings) -> PackPlace:
    if remote.is_registry:
        from sifmake.remote.registry_place import RegistryPlace

        return RegistryPlace(remote, settings)
    from sifmake.remote.web_place import WebPlace

    return WebPlace(remote, settings)
