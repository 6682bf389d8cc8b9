"""``sifmake cache push`` and ``pull``: packs of images between the store and remote stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.builder.remote_steps import RemoteSteps, shared_note, stored_lists
from sifmake.errors import UsageError
from sifmake.layers.codec import make_codec
from sifmake.layers.pack_format import pack_key, pack_key_prefix
from sifmake.remote.pushing import Pushed, push_documents, push_packs
from sifmake.remote.remote_packs import RemotePacks, Transfer, unwatched
from sifmake.remote.settings import RemoteSettings, check_remote
from sifmake.store.naming import BLOBS, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sifmake.builder.locked_layers import LockedPack
    from sifmake.progress import Progress
    from sifmake.project.configuration import Configuration
    from sifmake.sources.settings import SourceSettings
    from sifmake.store import Store

_NONE = "name it with --remote, or under store: remote: in sifmake.yaml"


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    Attributes:
        fetched: Keys of packs that came from a remote store.
        known: How many the store had.
        missing: Keys of packs that no remote store gave.
    """

    fetched: tuple[str, ...]
    known: int
    missing: tuple[str, ...]


def readable(configuration: Configuration, uri: str) -> tuple[RemoteSettings, ...]:
    """Return the remote stores to read from: the named one, else all that are configured.

    Raises:
        UsageError: There is none.
        ConfigError: The address is malformed.
    """
    remotes = _named(configuration, uri)
    if not remotes:
        raise UsageError("no remote store of packs is configured", hint=_NONE)
    return remotes


def writable(configuration: Configuration, uri: str) -> tuple[RemoteSettings, ...]:
    """Return the registries to write to: the named one, else those with ``push``, else the only one.

    Raises:
        UsageError: It is not clear which.
        ConfigError: The address is malformed.
    """
    remotes = [remote for remote in _named(configuration, uri) if remote.is_registry]
    chosen = [remote for remote in remotes if remote.push] or remotes
    if not chosen:
        what = "this remote store is read only" if uri else "no registry for packs is configured"
        raise UsageError(what, where=uri, hint="write oci://HOST/REPOSITORY" if uri else _NONE)
    if len(chosen) > 1 and not chosen[0].push:
        names = ", ".join(remote.uri for remote in chosen)
        raise UsageError(f"several registries for packs are configured ({names})", hint="choose one with --remote")
    return tuple(chosen)


def _named(configuration: Configuration, uri: str) -> tuple[RemoteSettings, ...]:
    known = configuration.find_remotes()
    if not uri:
        return known
    return tuple(remote for remote in known if remote.uri == uri) or (check_remote(RemoteSettings(uri)),)


def push_layers(
    layers: Sequence[LockedPack], store: Store, remote: RemoteSettings, settings: SourceSettings
) -> tuple[Pushed, list[str]]:
    """Upload the packs of layers that the store has, whatever their codec, and the notes and lists of files of steps.

    The DiffIDs of layers without a pack are returned, too.

    Raises:
        SifmakeError: See :func:`~sifmake.remote.pushing.push_packs`.
    """
    found = {layer.diff_id: store.packs.keys(pack_key_prefix(layer.diff_id)) for layer in layers}
    ask = getattr(settings.progress, "ask", None)
    pushed = push_packs((key for keys in found.values() for key in keys), store, remote, settings, ask)
    notes = {layer.step: shared_note(store, layer.step, layer.diff_id) for layer in layers if layer.step}
    push_documents(STEPS, {key: data for key, data in notes.items() if data}, remote, settings)
    push_documents(BLOBS, stored_lists(store, (layer.files for layer in layers)), remote, settings)
    return pushed, [diff_id for diff_id, keys in found.items() if not keys]


def pull_layers(
    layers: Iterable[LockedPack], store: Store, remotes: Sequence[RemoteSettings], settings: SourceSettings
) -> Fetched:
    """Fetch the packs and the lists of files of layers that the store lacks, and all notes on steps.

    Raises:
        StoreError: The store cannot be written.
        OSError: From writing.
    """
    told = settings.progress
    places = RemotePacks(remotes, store, settings, {})
    results: dict[str, list[str]] = {"fetched": [], "known": [], "missing": []}
    try:
        for layer in layers:
            key = pack_key(layer.diff_id, make_codec(layer.compression))
            results[_pull(key, layer.size, store, places, told)].append(key)
            steps = RemoteSteps(places, store, layer.compression, told)
            if layer.step:
                steps.fetch_notes(layer.step)
            if layer.files and store.blobs.get(layer.files) is None:
                steps.fetch_list(layer.files)
    finally:
        places.close()
    return Fetched(tuple(results["fetched"]), len(results["known"]), tuple(results["missing"]))


def _pull(key: str, size: int, store: Store, places: RemotePacks, progress: Progress) -> str:
    found = store.packs.open(key)
    if found is not None:
        found.close()
        return "known"
    pack = places.fetch(key, Transfer(size, progress, unwatched))
    if pack is None:
        return "missing"
    pack.close()
    return "fetched"
