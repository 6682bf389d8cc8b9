"""Find the files of the store that belong to an image, and check files of the store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sifmake.builder.image_cache import StoredDocuments
from sifmake.errors import IntegrityError, SourceError, StoreError
from sifmake.layers.pack_format import FIRST_VERSION, pack_key_prefix
from sifmake.layers.pack_reader import Pack, load_pack, open_pack
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci.digest import is_digest
from sifmake.oci.documents import load_json, looks_like_config, parse_config
from sifmake.oci.membership import find_candidates, indexes_in, is_member
from sifmake.oci.model import Platform
from sifmake.store.collect import target_of
from sifmake.store.exchange import EXCHANGED, is_index_note
from sifmake.store.items import Item, list_items
from sifmake.store.naming import has_digest, split_sif_name
from sifmake.store.stored_files import Found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sifmake.builder.archive_parts import ArchiveParts
    from sifmake.limits import Limits
    from sifmake.project.steps_lock import LockedStep
    from sifmake.store import Store


_SHA256_DIGITS = 64
_NOTE_BYTES = 256


def check_pack(
    path: Path, limits: Limits = DEFAULT_LIMITS, tell_unproven: Callable[[str], object] | None = None
) -> str:
    """Prove a pack, or check what can be checked if it has no residue; return the key that it should have.

    Args:
        path: The file.
        limits: Bounds on a layer.
        tell_unproven: Called with the key of a pack that has no residue.

    Raises:
        PackDamagedError: The pack is damaged.
    """
    key, is_proven = _checked_key(open_pack(path), limits)
    if tell_unproven and not is_proven:
        tell_unproven(key)
    return key


def _checked_key(pack: Pack, limits: Limits) -> tuple[str, bool]:
    """Return the key of a pack, and whether the pack has proven itself."""
    from sifmake.layers.pack_proof import verify_pack

    with pack:
        is_proven = verify_pack(pack, limits)
        return pack.key, is_proven


def why_damaged(store: Store, item: Item) -> str:
    """Return what is wrong with a file of the store; empty if it is undamaged."""
    try:
        return _why_damaged(store, item)
    except FileNotFoundError:
        return ""  # another process has removed it
    except StoreError as error:
        return error.what
    except OSError as error:
        return error.strerror or str(error)


def proves_itself(item: Item, limits: Limits) -> bool:
    """Tell whether a file of somebody else is a pack that proves itself, so that builds may take a copy of it."""
    from sifmake.layers.pack_proof import prove_pack

    if item.kind != "pack":
        return False
    try:
        with load_pack(item.path, item.open(), item.name) as pack:
            prove_pack(pack, limits)
    except (StoreError, OSError):
        return False
    return True


def why_unproven(item: Item) -> str:
    """Return why a pack cannot be compared with its layer; empty if it can, or is gone, and for other files."""
    if item.kind != "pack":
        return ""
    try:
        with load_pack(item.path, item.open(), item.name) as pack:
            if pack.has_residue:
                return ""
            return "it is of format 1" if pack.footer.version == FIRST_VERSION else "it has no residue"
    except (StoreError, OSError):
        return ""


def _why_damaged(store: Store, item: Item) -> str:
    match item.kind:
        case "pack":
            from sifmake.layers.pack_audit import STORED_LIMITS

            key, _ = _checked_key(load_pack(item.path, item.open(), None), STORED_LIMITS)
            return "" if key == item.name else "it is the pack of another layer"
        case "patch":
            return _why_patch_damaged(item)
        case "container":
            return _why_sif_damaged(item)
        case "index" | "name" | "step":
            return _why_note_damaged(store, item)
    most = max(DEFAULT_LIMITS.config_bytes, DEFAULT_LIMITS.manifest_bytes)
    return "" if has_digest(item.read(most + 1), item.name) else "its digest is wrong"


def _why_note_damaged(store: Store, item: Item) -> str:
    if item.kind == "name":
        return "" if target_of(item) else "it names no file"
    if item.kind == "step":
        from sifmake.steps import step_notes

        return step_notes.why_damaged(item)
    if not is_index_note(item.read(_NOTE_BYTES)):
        return "it holds no digest"
    return "its index does not have this manifest" if _is_disproved(store, _note_of(item)) else ""


def _why_sif_damaged(item: Item) -> str:
    from sifmake.builder.checked_sif import why_wrong

    with item.folder() as folder:
        found = Found(item.path, folder.open(item.path.name), folder.is_exposed())
    try:
        why = why_wrong(found, split_sif_name(item.name)[0])
    finally:
        found.close()
    return {"": "", "damaged": "its SHA-256 is wrong"}.get(why, f"it is {why}")


def _why_patch_damaged(item: Item) -> str:
    from sifmake.assembly.patch_file import load_patch

    with os.fdopen(item.open(), "rb") as file:
        load_patch(file.fileno(), item.name).check()
    return ""


def select(store: Store, parts: ArchiveParts) -> list[Item]:
    """Return the files that images need: manifests, configs, packs, and their indexes with the notes on them.

    Of steps, these are the packs, the notes and the lists of files.

    Args:
        store: The store; files of its read-only stores are included.
        parts: What is needed.

    Raises:
        StoreError: A part of an image is not in the store.
    """
    items = _by_place(store)
    chosen: dict[str, Item] = {}
    for digest in parts.manifests:
        for item in _of_image(store, items, digest):
            chosen[item.place] = item
    for step in parts.steps:
        for item in _of_step(items, step):
            chosen[item.place] = item
    return [chosen[place] for place in sorted(chosen)]


def _of_step(items: dict[str, Item], step: LockedStep) -> Iterator[Item]:
    from sifmake.steps.step_notes import is_shared, key_in

    yield from _packs(items, step.layer)
    for item in items.values():
        is_note = item.kind == "step" and key_in(item.name) == step.key
        if (is_note and is_shared(item)) or (item.kind == "blob" and item.name == step.files):
            yield item


def everything(store: Store) -> list[Item]:
    """Return all files of all stores that an archive may contain; the writable store comes first.

    Notes on steps in which something was faked stay: they count for nobody else.
    """
    from sifmake.steps.step_notes import is_shared

    return [item for _, item in sorted(_by_place(store).items()) if item.kind != "step" or is_shared(item)]


def _by_place(store: Store) -> dict[str, Item]:
    found: dict[str, Item] = {}
    stores = [*((path, store.site_rules) for path in reversed(store.read_only)), (store.root, store.rules)]
    for path, rules in stores:
        items = (item for item in list_items(path, rules=rules) if item.kind in EXCHANGED)
        found.update((item.place, item) for item in items if not item.why_not())
    return found


def _of_image(store: Store, items: dict[str, Item], digest: str) -> list[Item]:
    notes = _index_notes(store, items)
    manifests = {note.manifest for note in notes if note.index == digest} or {digest}
    about = [note for note in notes if note.manifest in manifests]
    chosen = [note.item for note in about]
    indexes = {name for note in about for name in _index_blobs(store, note.index)}
    for manifest in sorted(manifests):
        config = config_of(store, manifest)
        names = {digest, manifest, config, *indexes}
        chosen += [item for item in items.values() if item.kind == "blob" and item.name in names]
        for diff_id in parse_config(data_of(store, config)).diff_ids:
            chosen += _packs(items, diff_id)
    return chosen


@dataclass(frozen=True)
class _IndexNote:
    """A note that an index has a manifest."""

    item: Item
    index: str
    platform: str
    manifest: str


def _index_notes(store: Store, items: dict[str, Item]) -> list[_IndexNote]:
    """Return the notes on indexes, except those that an index in the store disproves."""
    notes = [_note_of(item) for item in items.values() if item.kind == "index"]
    return [note for note in notes if not _is_disproved(store, note)]


def _note_of(item: Item) -> _IndexNote:
    name, _, platform = item.name.partition("-")
    index = f"{'sha512' if len(name) > _SHA256_DIGITS else 'sha256'}:{name}"
    return _IndexNote(item, index, unquote(platform), item.read(_NOTE_BYTES).decode("ascii", "replace").strip())


def _is_disproved(store: Store, note: _IndexNote) -> bool:
    """Tell whether the index is in the store and has another manifest for the platform."""
    data = store.blobs.get(note.index)
    if data is None:
        return False
    platform = Platform(*note.platform.split("/")[:3])
    try:
        found = find_candidates(note.index, platform, StoredDocuments(store), DEFAULT_LIMITS)
    except (KeyError, SourceError):
        return not is_member(data, note.manifest, store.blobs.get)
    return note.manifest not in found.manifests


def _index_blobs(store: Store, digest: str) -> list[str]:
    """Return the digests of an index and of nested indexes that are in the store."""
    data = store.blobs.get(digest)
    return [] if data is None else [digest, *indexes_in(data, store.blobs.get)]


def _packs(items: dict[str, Item], diff_id: str) -> list[Item]:
    prefix = pack_key_prefix(diff_id)
    packs = [item for item in items.values() if item.kind == "pack" and item.name.startswith(prefix)]
    if not packs:
        raise StoreError("the store lacks this layer", where=diff_id, hint="pull the image first")
    return packs


def config_of(store: Store, manifest: str) -> str:
    """Return the digest of the config that a manifest names.

    Raises:
        StoreError: The store lacks the manifest, or the digest is that of another document.
    """
    data = data_of(store, manifest)
    hint = "use the manifest's digest, which the lock and `docker images --digests` show"
    if looks_like_config(data):
        what = "this digest is of the image config (the image ID that docker images shows), not of a manifest"
        raise StoreError(what, where=manifest, hint=hint)
    try:
        document = load_json(data)
    except IntegrityError as error:
        raise StoreError(f"not the manifest of an image ({error.what})", where=manifest, hint=hint) from None
    if "manifests" in document:
        hint = "pull the image first, or use the manifest's digest"
        raise StoreError("the store has no image of this index", where=manifest, hint=hint)
    config = document.get("config")
    digest = config.get("digest") if isinstance(config, dict) else None
    if not is_digest(digest):
        raise StoreError("not the manifest of an image (it names no config)", where=manifest, hint=hint)
    return str(digest)


def data_of(store: Store, digest: str) -> bytes:
    """Return a document of the store; StoreError if the store lacks it."""
    data = store.blobs.get(digest) if is_digest(digest) else None
    if data is None:
        raise StoreError(f"the store does not have this image ({store.root})", where=digest, hint="pull it first")
    return data
