"""The store: blobs by digest, layer packs, their patches and finished SIFs by key, and what is known of indexes."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import StoreError
from sifmake.files import fsync_folder, sha256_of, write_atomic
from sifmake.limits import DEFAULT_LIMITS
from sifmake.progress import Progress, Silent
from sifmake.store import lock, place
from sifmake.store.naming import (
    LOCKS,
    NAMES,
    PACKS,
    PATCHES,
    SCRATCH,
    SIFS,
    blob_path,
    candidates,
    check_digest_form,
    has_digest,
    index_path,
    is_digest,
    is_key,
    key_path,
    name_target,
)
from sifmake.store.sweep import sweep_daily
from sifmake.store.trust import renew, why_not_trusted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from sifmake.oci.model import Platform

LOCK_TIMEOUT = 1800.0
"""Seconds: longer than a healthy pull of one layer takes."""

_LARGEST_BLOB = max(DEFAULT_LIMITS.config_bytes, DEFAULT_LIMITS.manifest_bytes)


class Store:
    """One writable store and any number of read-only ones under it.

    Every file appears under its name by a rename when it is complete, so that readers need no lock.
    A store that cannot be written is used for what it holds.

    Attributes:
        root: The writable store's folder; made on first use.
        read_only: Folders of site stores, asked in this order after the own one.
        progress: Told warnings.
    """

    def __init__(
        self,
        root: Path,
        read_only: Sequence[Path] = (),
        *,
        progress: Progress | None = None,
        trusted_owners: Collection[int] = (),
    ) -> None:
        self.root = root
        self.read_only = tuple(read_only)
        self.progress = progress if progress is not None else Silent()
        self._owners = frozenset({0, os.geteuid(), *trusted_owners})
        self._dropped: set[str] = set()

    @classmethod
    def open(
        cls,
        root: Path | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        read_only: Sequence[Path] = (),
        progress: Progress | None = None,
        trusted_owners: Collection[int] = (),
    ) -> Store:
        """Return the store at ``root``, else the one that the environment names; nothing is written.

        Args:
            root: Folder of the writable store.
            environ: Has ``SIFMAKE_CACHE``, ``XDG_CACHE_HOME``, ``HOME``, ``SIFMAKE_READONLY_CACHE``.
            read_only: Further read-only stores, asked before those of the environment.
            progress: Told warnings.
            trusted_owners: User ids whose packs are used, besides the own one and root's.

        Raises:
            StoreError: No folder is named and there is no home directory.
        """
        writable = root.absolute() if root is not None else place.find_root(environ)
        layered = (*(path.absolute() for path in read_only), *place.find_read_only(environ))
        return cls(writable, layered, progress=progress, trusted_owners=trusted_owners)

    def get_blob(self, digest: str) -> bytes | None:
        """Return a small blob (manifest, index, config), or None; a damaged one is dropped and counts as missing."""
        for root in self._roots():
            path = blob_path(root, digest)
            data = _read(path, _LARGEST_BLOB)
            if data is None:
                continue
            if has_digest(data, digest):
                renew(path)
                return data
            self.progress.warning(f"the blob {digest} in the store {root} is damaged and is not used")
            if root == self.root:
                _unlink(path)
        return None

    def put_blob(self, digest: str, data: bytes) -> None:
        """Keep a small blob; a store that cannot be written is left alone with a warning.

        Raises:
            StoreError: The data does not have that digest.
        """
        if not has_digest(data, digest):
            raise StoreError("the data does not have the digest", where=digest)
        self._keep(blob_path(self.root, digest), data)

    def find_manifest(self, index_digest: str, platform: Platform) -> str | None:
        """Return the manifest that an index gave for a platform, or None when it was never looked into."""
        for root in self._roots():
            path = index_path(root, index_digest, platform)
            data = _read(path, 256)
            text = data.decode("ascii", "replace").strip() if data else ""
            if is_digest(text):
                renew(path)
                return text
        return None

    def remember_manifest(self, index_digest: str, platform: Platform, manifest_digest: str) -> None:
        """Keep which manifest an index gives for a platform; the digest of the index makes that true for ever."""
        check_digest_form(manifest_digest)
        self._keep(index_path(self.root, index_digest, platform), f"{manifest_digest}\n".encode())

    def pack_path(self, key: str) -> Path:
        """Return where the pack of this key is to be written; its folder exists.

        Raises:
            StoreError: The folder cannot be made, or the key is no file name.
        """
        return self._path_to_write(PACKS, key)

    def find_pack(self, key: str) -> Path | None:
        """Return the pack of this key from the first store that has one, or None; renews its time stamp."""
        return self._find(PACKS, key)

    def drop_pack(self, key: str) -> None:
        """Remove a damaged pack from the writable store; from now on this object finds none in the read-only ones."""
        self._dropped.add(key)
        _unlink(key_path(self.root, PACKS, key))

    def pack_keys(self, prefix: str) -> list[str]:
        """Return the keys of all packs that begin with a prefix of two characters or more, sorted."""
        folders = [root / PACKS / prefix[:2] for root in self._roots()]
        names = {entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir()}
        return sorted(name for name in names if name.startswith(prefix) and is_key(name))

    def patch_path(self, key: str) -> Path:
        """Return where the patch of this key is to be written; see :meth:`pack_path`."""
        return self._path_to_write(PATCHES, key)

    def find_patch(self, key: str) -> Path | None:
        """Return the patch of this key, or None; see :meth:`find_pack`."""
        return self._find(PATCHES, key)

    def drop_patch(self, key: str) -> None:
        """Remove a damaged patch from the writable store."""
        _unlink(key_path(self.root, PATCHES, key))

    def patch_paths(self, prefix: str) -> list[Path]:
        """Return all patches whose keys begin with a prefix of two characters or more, the latest used first."""
        found: list[tuple[float, Path]] = []
        for root in self._roots():
            for path in (root / PATCHES / prefix[:2]).glob(f"{prefix}*"):
                try:
                    if why_not_trusted(path, root, self._owners_of(root)) is None:
                        found.append((path.stat().st_mtime, path))
                except OSError:
                    continue
        return [path for _, path in sorted(found, reverse=True)]

    def add_sif(self, key: str, write: Callable[[Path], object]) -> Path:
        """Let a finished SIF be written, keep it with its SHA-256 in its name, and return where it is.

        Args:
            key: What it is found by; an earlier one of the same key goes.
            write: Writes the file that it is given the path of.

        Raises:
            StoreError: The folder cannot be made, or the key is no file name.
        """
        import tempfile

        folder = self._path_to_write(SIFS, key).parent
        with tempfile.TemporaryDirectory(dir=self.temporary_folder()) as scratch:
            path = Path(scratch, f"{key}.sif")
            write(path)
            target = path.rename(folder / f"{key}.{sha256_of(path)}.sif")
        fsync_folder(folder)
        for other in candidates(self.root, SIFS, key):
            if other != target:
                _unlink(other)
        return target

    def find_sif(self, key: str) -> Path | None:
        """Return the finished SIF of this key, or None; see :meth:`find_pack`. Its SHA-256 is not checked."""
        return self._find(SIFS, key)

    def sif_paths(self, key: str) -> list[Path]:
        """Return where finished SIFs of this key are, in all stores; nothing is changed and nobody's word is taken."""
        return [path for root in self._roots() for path in candidates(root, SIFS, key)]

    def drop_sif(self, path: Path) -> None:
        """Remove a damaged finished SIF from the writable store; one of a read-only store is not found any more."""
        self._dropped.add(path.name)
        if path.is_relative_to(self.root):
            _unlink(path)

    def keep_name(self, name: str, key: str) -> None:
        """Keep which finished SIF a name meant last."""
        self._keep(self._name_path(name), f"{key}\n".encode())

    def find_name(self, name: str) -> str:
        """Return the key that was kept for a name; empty where there is none."""
        return name_target(_read(self._name_path(name), 256) or b"")

    def find_named(self, name: str) -> Path | None:
        """Return the finished SIF that a name meant when it was kept, or None."""
        key = self.find_name(name)
        return self.find_sif(key) if key else None

    def temporary_folder(self) -> Path:
        """Return a folder for spooling; what is not written to for a day is removed from it.

        Raises:
            StoreError: It cannot be made.
        """
        folder = place.make_folder(self.root, self.root / SCRATCH)
        sweep_daily(self.root, self.scratch)
        return folder

    @contextmanager
    def lock(self, name: str, timeout: float = LOCK_TIMEOUT) -> Iterator[bool]:
        """Hold the lock of a name while the block runs, to avoid double work; yield whether it is held.

        A lock that cannot be had (no locking on the file system, a store that cannot be written, a dead host)
        is gone without, after a warning; look into the store again once inside.

        Args:
            name: A key, or any text.
            timeout: Seconds after which to go on without.
        """
        try:
            folder = place.make_folder(self.root, self.root / LOCKS)
        except StoreError:
            yield False
            return
        file_name = name if is_key(name) else hashlib.sha256(name.encode()).hexdigest()
        with lock.hold(folder / file_name, timeout, self.progress) as held:
            yield held

    @property
    def scratch(self) -> tuple[Path, ...]:
        """The folders in which everything is temporary."""
        return self.root / SCRATCH, self.root / LOCKS

    def _roots(self) -> tuple[Path, ...]:
        return (self.root, *self.read_only)

    def _name_path(self, name: str) -> Path:
        return key_path(self.root, NAMES, hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest())

    def _path_to_write(self, kind: str, key: str) -> Path:
        path = key_path(self.root, kind, key)
        place.make_folder(self.root, path.parent)
        sweep_daily(self.root, self.scratch)
        return path

    def _find(self, kind: str, key: str) -> Path | None:
        for root in self._roots():
            for path in candidates(root, kind, key):
                if path.name in self._dropped and root != self.root:
                    continue
                try:
                    objection = why_not_trusted(path, root, self._owners_of(root))
                except OSError:
                    continue
                if objection is None:
                    renew(path)
                    return path
                self.progress.warning(f"{path} is not used: {objection}")
        return None

    def _owners_of(self, root: Path) -> Collection[int]:
        """Whoever names a site store as read-only trusts the one who keeps it."""
        return self._owners if root == self.root else self._owners | {root.stat().st_uid}

    def _keep(self, path: Path, data: bytes) -> None:
        if _read(path, len(data)) == data:
            return
        try:
            place.make_folder(self.root, path.parent)
            write_atomic(path, data)
        except (OSError, StoreError) as error:
            self.progress.warning(f"the store keeps nothing: {error}")


def _read(path: Path, largest: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(largest + 1)
    except OSError:
        return None


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
