"""The store: blobs by digest, layer packs, their patches and finished SIFs by key, and what is known of indexes."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from sifmake.errors import StoreError
from sifmake.files import sha256_of_open
from sifmake.limits import DEFAULT_LIMITS
from sifmake.progress import Progress, Silent
from sifmake.store import lock, place
from sifmake.store.access import GROUP, Access
from sifmake.store.folder import Rules
from sifmake.store.naming import (
    LOCKS,
    PACKS,
    PATCHES,
    SCRATCH,
    SIFS,
    Spot,
    blob_spot,
    check_digest_form,
    has_digest,
    index_spot,
    is_digest,
    is_key,
    key_spot,
    name_note,
    name_spot,
    name_target,
    split_sif_name,
)
from sifmake.store.root import Root
from sifmake.store.stored_files import Found, StoredFiles
from sifmake.store.trust import Trust, renew
from sifmake.temporaries import hold, temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from sifmake.oci.model import Platform
    from sifmake.store.folder import Folder

Result = TypeVar("Result")
_LOCK_TIMEOUT = 1800.0
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
        rules: Whose files in the writable store are believed, and modes of new ones.
        site_rules: Whose files in the read-only stores are believed.
    """

    def __init__(
        self,
        root: Path,
        read_only: Sequence[Path] = (),
        *,
        progress: Progress | None = None,
        trusted_owners: Collection[int | str] = (),
        trusted_groups: Collection[int | str] = (),
        shared: str = "",
    ) -> None:
        self.root = root
        self.read_only = tuple(read_only)
        self.progress = progress if progress is not None else Silent()
        owners, groups = tuple(trusted_owners), tuple(trusted_groups)
        self.rules = Rules(Trust(owners, groups), Access(shared, writers=shared == GROUP and bool(groups)))
        self.site_rules = Rules(Trust(owners, groups, keeper=True))
        site = [Root(path, self.site_rules) for path in self.read_only]
        self._files = StoredFiles(Root(root, self.rules), site, self.progress)
        self._dropped: set[str] = set()
        self._unplaced: dict[str, int] = {}

    @classmethod
    def open(
        cls,
        root: Path | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        read_only: Sequence[Path] = (),
        progress: Progress | None = None,
        trusted_owners: Collection[int | str] = (),
        trusted_groups: Collection[int | str] = (),
        shared: str = "",
    ) -> Store:
        """Return the store at ``root``, else the one that the environment names; nothing is written.

        Args:
            root: Folder of the writable store.
            environ: Has ``SIFMAKE_CACHE``, ``XDG_CACHE_HOME``, ``HOME``, ``SIFMAKE_READONLY_CACHE``.
            read_only: Further read-only stores, asked before those of the environment.
            progress: Told warnings.
            trusted_owners: Users, by id or name, whose files are used besides the own ones and root's.
            trusted_groups: Groups, by id or name, whose files are used.
            shared: For whom new files are: ``none``, ``group``, ``all``; empty: those whom the folder lets in.

        Raises:
            StoreError: No folder is named and there is no home directory.
        """
        writable = root.absolute() if root is not None else place.find_root(environ)
        layered = (*(path.absolute() for path in read_only), *place.find_read_only(environ))
        return cls(
            writable,
            layered,
            progress=progress,
            trusted_owners=trusted_owners,
            trusted_groups=trusted_groups,
            shared=shared,
        )

    def get_blob(self, digest: str) -> bytes | None:
        """Return a small blob (manifest, index, config), or None; a damaged one is dropped and counts as missing."""
        spot = blob_spot(digest)
        for root in self._files.roots:
            # Whoever owns it: the digest tells whether it is right.
            data = self._files.read(root, spot, _LARGEST_BLOB, anyone=True)
            if data is None:
                continue
            if has_digest(data, digest):
                return data
            self.progress.warning(f"the blob {digest} in the store {root.path} is damaged and is not used")
            if root is self._files.own:
                self._files.remove(spot)
        return None

    def put_blob(self, digest: str, data: bytes) -> None:
        """Keep a small blob; a store that cannot be written is left alone with a warning.

        Raises:
            StoreError: The data does not have that digest.
        """
        if not has_digest(data, digest):
            raise StoreError("the data does not have the digest", where=digest)
        self._files.keep(blob_spot(digest), data)

    def find_manifest(self, index_digest: str, platform: Platform) -> str | None:
        """Return the manifest that an index gave for a platform, or None when it was never looked into."""
        spot = index_spot(index_digest, platform)
        for root in self._files.roots:
            data = self._files.read(root, spot, 256)
            text = data.decode("ascii", "replace").strip() if data else ""
            if is_digest(text):
                return text
        return None

    def remember_manifest(self, index_digest: str, platform: Platform, manifest_digest: str) -> None:
        """Keep which manifest an index gives for a platform; the digest of the index makes that true for ever."""
        check_digest_form(manifest_digest)
        self._files.keep(index_spot(index_digest, platform), f"{manifest_digest}\n".encode())

    def pack_path(self, key: str) -> Path:
        """Return where the pack of this key goes; its folder exists.

        Raises:
            StoreError: The folder cannot be made, or the key is no file name.
        """
        spot = key_spot(PACKS, key)
        self._files.own.make(spot.folders).close()
        return spot.under(self.root)

    def write_pack(self, key: str, write: Callable[[BinaryIO], object]) -> Found:
        """Let a pack be written and put it in its place; return the file that was written, open.

        Args:
            key: What it is found by.
            write: Writes to the file that it is given.

        Raises:
            StoreError: The folder cannot be made, or the key is no file name.
            OSError: As writing does; names the place of the pack.
        """
        spot = key_spot(PACKS, key)
        with ExitStack() as failed:
            with self._files.writing(spot) as file:
                write(file)
                fd = os.dup(file.fileno())
                failed.callback(os.close, fd)
            hold(fd)
            failed.pop_all()
        return Found(spot.under(self.root), fd)

    def write_temporary(self, write: Callable[[BinaryIO], Result]) -> tuple[str, Result]:
        """Let a file be written that has no place yet; return its name for :meth:`place_pack`, and what writing gave.

        Raises:
            StoreError: The folder for it cannot be made.
            OSError: As writing does.
        """
        with self._files.scratch() as folder:
            name = temporary_name("layer")
            with folder.writing(name) as file:
                result = write(file)
                self._unplaced[name] = os.dup(file.fileno())  # keeps it locked
        return name, result

    def place_pack(self, name: str, key: str) -> None:
        """Give a temporary file its place as the pack of a key.

        Raises:
            StoreError: The folder cannot be made, or the key is no file name.
            OSError: As rename does.
        """
        spot = key_spot(PACKS, key)
        with self._files.own.make((SCRATCH,)) as scratch, self._files.own.make(spot.folders) as folder:
            folder.take(name, scratch, spot.name)
        os.close(self._unplaced.pop(name))

    def drop_temporary(self, name: str) -> None:
        """Remove a temporary file."""
        self._files.remove(Spot((SCRATCH,), name))
        os.close(self._unplaced.pop(name))

    def open_pack(self, key: str) -> Found | None:
        """Return the pack of this key, open, from the first store that has one, or None; renews its time stamp."""
        return self._open(PACKS, key)

    def find_pack(self, key: str) -> Path | None:
        """Return where the pack of this key is, or None; see :meth:`open_pack`."""
        return _path(self.open_pack(key))

    def drop_pack(self, key: str) -> None:
        """Remove a damaged pack from the writable store; from now on this object finds none in the read-only ones."""
        self._dropped.add(key)
        self._files.remove(key_spot(PACKS, key))

    def pack_keys(self, prefix: str) -> list[str]:
        """Return the keys of all packs that begin with a prefix of two characters or more, sorted."""
        names = {name for root in self._files.roots for name in self._files.names(root, (PACKS, prefix[:2]))}
        return sorted(name for name in names if name.startswith(prefix) and is_key(name))

    @contextmanager
    def writing_patch(self, key: str) -> Iterator[BinaryIO]:
        """Open a file for the patch of a key, which gets its place when the block ends well; see :meth:`write_pack`."""
        with self._files.writing(key_spot(PATCHES, key)) as file:
            yield file

    def open_patch(self, key: str) -> Found | None:
        """Return the patch of this key, open, or None; see :meth:`open_pack`."""
        return self._open(PATCHES, key)

    def drop_patch(self, key: str) -> None:
        """Remove a damaged patch from the writable store."""
        self._files.remove(key_spot(PATCHES, key))

    def open_patches(self, prefix: str, most: int) -> list[Found]:
        """Return patches whose keys begin with a prefix of two characters or more, open, the latest used first."""
        found = [
            (status.st_mtime, root, name)
            for root in self._files.roots
            for name, status in self._files.entries(root, (PATCHES, prefix[:2]))
            if name.startswith(prefix) and is_key(name)
        ]
        found.sort(key=lambda one: one[0], reverse=True)
        opened = (self._files.open(root, key_spot(PATCHES, name), renewed=False) for _, root, name in found[:most])
        return [one for one in opened if one is not None]

    def add_sif(self, key: str, write: Callable[[Path], object]) -> Path:
        """Let a finished SIF be written, keep it, and return where it is; see :meth:`put_sif`."""
        found = self.put_sif(key, write)
        found.close()
        return found.path

    def put_sif(self, key: str, write: Callable[[Path], object]) -> Found:
        """Let a finished SIF be written, keep it with its SHA-256 in its name, and return it, open.

        Args:
            key: What it is found by; an earlier one of the same key goes.
            write: Writes the file that it is given the path of.

        Raises:
            StoreError: The folder cannot be made, or the key is no file name.
        """
        from sifmake.store.scratch import path_of

        spot = key_spot(SIFS, key)
        with self._files.own.make(spot.folders) as folder, self.scratch_folder() as scratch, ExitStack() as failed:
            name = f"{key}.sif"
            write(path_of(scratch) / name)
            fd = scratch.open(name)
            failed.callback(os.close, fd)
            target = f"{key}.{sha256_of_open(fd)}.sif"
            folder.take(name, scratch, target)
            failed.pop_all()
            for other in folder.names():
                if other != target and split_sif_name(other)[0] == key:
                    with suppress(OSError):
                        folder.remove(other)
        return Found(Spot(spot.folders, target).under(self.root), fd)

    def has(self, spot: Spot) -> bool:
        """Tell whether the writable store has a file that is believed."""
        return _path(self._files.open(self._files.own, spot)) is not None

    def put(self, spot: Spot, write: Callable[[Path], object]) -> None:
        """Let a file be written and put it in its place.

        Args:
            spot: Where it goes.
            write: Writes the file that it is given the path of, and checks it.

        Raises:
            StoreError: The folder cannot be made.
            OSError: As rename does.
        """
        from sifmake.store.scratch import open_scratch, path_of

        own = self._files.own
        with own.make(spot.folders) as folder, own.make((SCRATCH,)) as parent, open_scratch(parent) as scratch:
            write(path_of(scratch) / spot.name)
            folder.take(spot.name, scratch, spot.name)

    @contextmanager
    def scratch_folder(self) -> Iterator[Folder]:
        """Open an empty folder of this user alone, for as long as the block runs; see :func:`open_scratch`."""
        from sifmake.store.scratch import open_scratch

        with self._files.scratch() as parent, open_scratch(parent) as scratch:
            yield scratch

    def open_sif(self, key: str) -> Found | None:
        """Return the finished SIF of this key, open, or None; neither is its SHA-256 checked nor its time renewed."""
        return self._open(SIFS, key, renewed=False)

    def renew(self, found: Found) -> None:
        """Renew the time stamp of a file that is used, if it is the writable store's."""
        if found.path.is_relative_to(self.root):
            renew(found.fd, os.fstat(found.fd))

    def find_sif(self, key: str) -> Path | None:
        """Return where the finished SIF of this key is, or None; see :meth:`open_sif`."""
        return _path(self.open_sif(key))

    def sif_paths(self, key: str) -> list[Path]:
        """Return where finished SIFs of this key are, in all stores; nothing is changed and nobody's word is taken."""
        spot = key_spot(SIFS, key)
        return [
            Spot(spot.folders, name).under(root.path)
            for root in self._files.roots
            for name in self._sif_names(root, spot)
        ]

    def drop_sif(self, path: Path) -> None:
        """Remove a damaged finished SIF from the writable store; one of a read-only store is not found any more."""
        self._dropped.add(path.name)
        if path.is_relative_to(self.root):
            self._files.remove(Spot((SIFS, path.parent.name), path.name))

    def keep_name(self, name: str, key: str) -> None:
        """Keep which finished SIF a name meant last."""
        self._files.keep(name_spot(name), name_note(name, key))

    def find_name(self, name: str) -> str:
        """Return the key that was kept for a name; empty where there is none."""
        return name_target(self._files.read(self._files.own, name_spot(name), 512) or b"", name)

    def find_named(self, name: str) -> Path | None:
        """Return the finished SIF that a name meant when it was kept, or None."""
        key = self.find_name(name)
        return self.find_sif(key) if key else None

    def temporary_folder(self) -> Path:
        """Return the folder for spooling; what is not written to for a day is removed from it.

        Raises:
            StoreError: It cannot be made.
        """
        with self._files.scratch() as folder:
            return folder.path

    @contextmanager
    def lock(self, name: str, timeout: float = _LOCK_TIMEOUT) -> Iterator[bool]:
        """Hold the lock of a name while the block runs, to avoid double work; yield whether it is held.

        A lock that cannot be had (no locking on the file system, a store that cannot be written, a dead host)
        is gone without, after a warning; look into the store again once inside.

        Args:
            name: A key, or any text.
            timeout: Seconds after which to go on without.
        """
        try:
            folder = self._files.own.make((LOCKS,))
        except StoreError as error:
            self.progress.warning(f"no lock in the store ({error}); going on, the work may be done twice")
            yield False
            return
        file_name = name if is_key(name) else hashlib.sha256(name.encode()).hexdigest()
        with lock.hold(folder, file_name, timeout, self.progress) as held:
            yield held

    def sweep(self) -> None:
        """Remove old temporaries of the writable store now."""
        from sifmake.store.sweep import sweep

        with suppress(OSError, StoreError):
            sweep(self._files.own.open())

    def _open(self, kind: str, key: str, *, renewed: bool = True) -> Found | None:
        spot = key_spot(kind, key)
        for root in self._files.roots:
            for name in [key] if kind != SIFS else self._sif_names(root, spot):
                if name in self._dropped and root is not self._files.own:
                    continue
                found = self._files.open(root, Spot(spot.folders, name), renewed=renewed)
                if found is not None:
                    return found
        return None

    def _sif_names(self, root: Root, spot: Spot) -> list[str]:
        """Return the files that may be what a key names: the name of a finished SIF has its SHA-256 too."""
        return [name for name in self._files.names(root, spot.folders) if split_sif_name(name)[0] == spot.name]


def _path(found: Found | None) -> Path | None:
    """Return the path of a file and close it."""
    if found is None:
        return None
    found.close()
    return found.path
