"""Which layers images have, from their locks or from documents in the store, without asking a registry."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.builder.cache_exchange import config_of, data_of
from sifmake.errors import StoreError, UsageError
from sifmake.files import read_regular
from sifmake.oci.digest import is_digest
from sifmake.oci.documents import parse_config, parse_document
from sifmake.project.lock_file import read_lock
from sifmake.project.locks import BuildLock, Lock
from sifmake.project.steps_lock import read_steps_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sifmake.limits import Limits
    from sifmake.project.locks import AnyLock
    from sifmake.store import Store

LOCKS = "config/locks"
_NOT_LOCKS = ".steps.yaml"
_WITH_LAYERS = frozenset({"docker", "docker-daemon", "docker-archive", "oci", "oci-archive"})
"""Transports of images with layers."""
_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class LockedPack:
    """A layer whose pack is wanted.

    Attributes:
        diff_id: DiffID of the layer.
        size: Compressed bytes of the layer; 0 if that is unknown, or if it never was compressed.
        compression: Compression of the pack.
        step: Key of the build step that gave the layer; empty for layers of images.
        files: Digest of the list of its files; empty for layers of images.
    """

    diff_id: str
    size: int
    compression: str
    step: str = ""
    files: str = ""


def layers_of(words: Iterable[str], root: Path, store: Store) -> list[LockedPack]:
    """Return the layers of images, each once.

    Args:
        words: Names of images with a lock in the project, lock files, or digests of manifests in the store.
        root: Folder of the project.
        store: Provides documents.

    Raises:
        UsageError: A word is none of these.
        LockError: A lock file cannot be used.
        StoreError: The layers of an image are not known here.
    """
    return list(dict.fromkeys(layer for word in words for layer in _layers_of(word, root, store)))


def layers_of_locks(folder: Path, store: Store) -> list[LockedPack]:
    """Return the layers that the locks in a folder name, each once; raises the errors of :func:`layers_of`."""
    return list(dict.fromkeys(layer for path in _lock_files(folder) for layer in _of_lock(path, store)))


def named_in_locks(folders: Sequence[Path], store: Store, limits: Limits) -> frozenset[str]:
    """Return everything in the locks of some folders that may be a DiffID or the key of a step, hexadecimal.

    What is not known is not deleted: every digest in any file of locks counts, and a lock without DiffIDs is an error.

    Raises:
        UsageError: A folder has no locks.
        SifmakeError: A lock cannot be read, or the layers of an image are not known.
    """
    named: set[str] = set()
    for folder in folders:
        if not any(_lock_files(folder)):
            raise UsageError(
                "this folder has no locks", where=str(folder), hint="name the folders of all locks with --locks"
            )
        named |= {layer.diff_id.partition(":")[2] for layer in layers_of_locks(folder, store)}
        for path in folder.glob("*.yaml"):
            named |= set(_HEX.findall(read_regular(path, limits.yaml_bytes).decode("utf-8", "replace")))
    return frozenset(named)


def _lock_files(folder: Path) -> Iterator[Path]:
    """Yield the locks of images in a folder, sorted."""
    yield from (path for path in sorted(folder.glob("*.yaml")) if not path.name.endswith(_NOT_LOCKS))


def _layers_of(word: str, root: Path, store: Store) -> list[LockedPack]:
    digest = word.rpartition("@")[2]
    if is_digest(digest):
        return _of_manifest(digest, store)
    for path in (Path(word), root / LOCKS / f"{word}.yaml"):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return _of_lock(path, store)
    hint = "write the name of an image of the project, or sha256: and 64 hex digits"
    raise UsageError("not an image with a lock, a lock file or a digest", where=word, hint=hint)


def _of_lock(path: Path, store: Store) -> list[LockedPack]:
    """Return the layers of a lock; none of a prebuilt SIF file, which has no packs."""
    lock: AnyLock = read_lock(path)
    if isinstance(lock, BuildLock):
        return [*_of_bases(lock, path, store), *_of_steps(lock, path)]
    if not isinstance(lock, Lock):
        return []
    diff_ids = [layer.diff_id for layer in lock.layers]
    if not all(diff_ids):
        data = store.blobs.get(lock.config)
        if data is None:
            hint = f"remove the lock and run `sifmake lock {path.stem}` to write a new one"
            raise StoreError("the lock is of an older version and names no DiffIDs", where=str(path), hint=hint)
        diff_ids = list(parse_config(data).diff_ids)
    sizes = [layer.size for layer in lock.layers]
    return [LockedPack(*layer, lock.build.compression) for layer in zip(diff_ids, sizes, strict=True)]


def _of_bases(lock: BuildLock, path: Path, store: Store) -> list[LockedPack]:
    """Return the layers of the bases of a definition; the lock names their manifests only."""
    found = []
    for base in lock.inputs.bases:
        if base.source.partition(":")[0] not in _WITH_LAYERS:
            continue
        try:
            layers = _of_manifest(base.manifest, store)
        except StoreError as error:
            what = f"the layers of the base {base.source} are not known here ({error.what})"
            raise StoreError(what, where=str(path), hint="build the image here once") from None
        found += [replace(layer, compression=lock.build.compression) for layer in layers]
    return found


def _of_steps(lock: BuildLock, path: Path) -> list[LockedPack]:
    """Return the layers of the steps of a definition, as far as their lock names them."""
    steps = read_steps_lock(path.with_name(path.stem + _NOT_LOCKS))
    compression, found = lock.build.compression, steps.steps if steps else ()
    return [LockedPack(step.layer, 0, compression, step.key, step.files) for step in found]


def _of_manifest(digest: str, store: Store) -> list[LockedPack]:
    diff_ids = parse_config(data_of(store, config_of(store, digest))).diff_ids
    sizes = [layer.size for layer in getattr(parse_document(data_of(store, digest)), "layers", ())]
    if len(sizes) != len(diff_ids):
        raise StoreError("the manifest and its config have different layers", where=digest, hint="pull the image again")
    return [LockedPack(*layer, "gzip") for layer in zip(diff_ids, sizes, strict=True)]
