"""Carrying parts of a store to a machine without a network, as a plain tar archive of its files."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from sifmake.errors import IntegrityError, LimitError, PackDamagedError, StoreError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci.membership import is_member
from sifmake.os_errors import name_file
from sifmake.places import store_place
from sifmake.ranges import read_at
from sifmake.room import Need, check_room, find_shortage
from sifmake.sources.tar_archive import FileBytes
from sifmake.sources.tar_members import entries_of
from sifmake.store.archive_input import open_archive
from sifmake.store.naming import Spot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from sifmake.limits import Limits
    from sifmake.sources.tar_members import ArchiveEntry
    from sifmake.store.items import Item
    from sifmake.store.store import Store

_NAMES = {
    "blob": re.compile(r"blobs/(sha256/[0-9a-f]{2}/[0-9a-f]{64}|sha512/[0-9a-f]{2}/[0-9a-f]{128})\Z"),
    "pack": re.compile(r"packs/[A-Za-z0-9]{2}/[A-Za-z0-9][A-Za-z0-9._+-]{2,199}\Z"),
    "index": re.compile(r"indexes/[0-9a-f]{2}/(?:[0-9a-f]{64}|[0-9a-f]{128})-[A-Za-z0-9%._-]{1,100}\Z"),
}
EXCHANGED = frozenset(_NAMES)
"""Kinds of files that an archive may hold; finished SIFs are made of them in a moment."""
_END = bytes(1024)
"""Two blocks of zeros end every tar archive (POSIX pax)."""

_MANIFEST = re.compile(rb"sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})\n?\Z")
_LARGEST = {"blob": DEFAULT_LIMITS.config_bytes, "pack": 2 * DEFAULT_LIMITS.layer_bytes, "index": 256}


_PIECE = 1 << 20
_SHOWN = 200
"""Characters of a name that does not belong here."""


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        new: Names of the files that are new.
        known: How many were there already.
        left_out: Names of notes on indexes that are neither in the archive nor in the store: nothing proves them.
    """

    new: list[str]
    known: int
    left_out: list[str]


def write_archive(items: Iterable[Item], target: BinaryIO) -> tuple[int, int]:
    """Write files of a store into a tar archive, the same bytes for the same files.

    Args:
        items: Blobs, packs and indexes.
        target: Only written to, so it may be a pipe.

    Returns:
        How many files and how many bytes it has.
    """
    count = 0
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for item in items:
            with os.fdopen(item.open(), "rb") as source:
                info = tarfile.TarInfo(item.place)
                info.size = os.fstat(source.fileno()).st_size
                archive.addfile(info, source)
            count += 1
        size = archive.offset
    return count, -(-(size + len(_END)) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def read_archive(
    store: Store, source: Path, check_pack: Callable[[Path], str], limits: Limits = DEFAULT_LIMITS
) -> Imported:
    """Take the files of an archive into the writable store, each after its check.

    Args:
        store: What is there already stays as it is.
        source: A tar archive that :func:`write_archive` made, from wherever; ``-`` is standard input.
        check_pack: Returns the key that the pack in a file has, after checking all of it; raises
            :class:`~sifmake.errors.PackDamagedError`.
        limits: ``archive_members``, ``archive_headers_bytes`` and ``pax_bytes`` apply.

    Raises:
        NoRoomError: The store has not enough for what is new; nothing was taken.
        StoreError: The archive is damaged or holds what does not belong into a store; what stood before is kept.
        OSError: As reading and writing do.
    """
    try:
        with open_archive(source, store) as fd:
            _demand_end(fd)
            taking = _Import(store, fd, check_pack)
            taking.check_room(limits)
            return taking.take_all(limits)
    except LimitError as error:
        raise StoreError(error.what, where=str(source), hint=error.hint) from None
    except IntegrityError as error:
        raise StoreError(f"is no archive of a store ({error})", where=str(source)) from None
    except StoreError as error:
        raise error.within(str(source)) from None


def _demand_end(fd: int) -> None:
    """Refuse an archive that was truncated between two members, which reading alone does not notice."""
    status = os.fstat(fd)
    end = max(0, status.st_size - len(_END))
    if not stat.S_ISREG(status.st_mode) or read_at(fd, len(_END), end) != _END:
        raise StoreError("is no archive of a store, or was truncated", hint="copy it again")


class _Import:
    """One archive on its way into a store."""

    def __init__(self, store: Store, fd: int, check_pack: Callable[[Path], str]) -> None:
        self._store = store
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._check_pack = check_pack
        self._seen: set[str] = set()
        self._notes: dict[str, bytes] = {}
        self._new: list[str] = []
        self._known = 0

    def check_room(self, limits: Limits) -> None:
        """Look whether the packs that are new have room, before the first file is written.

        Raises:
            NoRoomError: They have not.
        """
        try:
            entries = [entry for entry in entries_of(FileBytes(self._fd), limits) if _NAMES["pack"].match(entry.name)]
        except IntegrityError:
            return  # whoever takes the files meets it too
        place = store_place(self._store.root)
        if find_shortage(Need(place, min(entry.size, self._size)) for entry in entries):
            new = [entry for entry in entries if not self._store.has(_spot_of(entry.name))]
            check_room(Need(place, min(entry.size, self._size)) for entry in new)

    def take_all(self, limits: Limits) -> Imported:
        for entry in entries_of(FileBytes(self._fd), limits):
            kind = self._kind_of(entry)
            if self._store.has(_spot_of(entry.name)):
                self._known += 1
            elif kind == "index":
                # The index that proves it may stand behind it.
                self._notes[entry.name] = read_at(self._fd, entry.size, entry.offset)
            else:
                self._take(entry.name, kind, _pieces(self._fd, entry.offset, entry.size))
        left_out = [name for name, note in self._notes.items() if not self._take_note(name, note)]
        return Imported(self._new, self._known, left_out)

    def _kind_of(self, entry: ArchiveEntry) -> str:
        """Return what an entry is; names of other forms could lead out of the store."""
        kind = next((name for name, form in _NAMES.items() if form.match(entry.name)), None)
        if kind is None or not entry.is_plain:
            raise StoreError("holds what does not belong into a store", where=entry.name[:_SHOWN])
        if entry.size > _LARGEST[kind]:
            raise StoreError(f"is too large for a {kind}, {entry.size} bytes", where=entry.name)
        if entry.offset + entry.size > self._size:
            raise StoreError("is no archive of a store, or was truncated", where=entry.name, hint="copy it again")
        if entry.name in self._seen:
            raise StoreError("stands in the archive twice", where=entry.name)
        self._seen.add(entry.name)
        return kind

    def _take_note(self, name: str, note: bytes) -> bool:
        """Take what is said of an index if the index itself says so; return False where that is not at hand."""
        manifest, index = note.decode("ascii", "replace").strip(), _index_of(name)
        document = self._store.blobs.get(index)
        if is_index_note(note) and document is None:
            return False
        if document is None or not is_member(document, manifest, self._store.blobs.get):
            raise StoreError("this index is not what its name says", where=name)
        self._take(name, "index", [note])
        return True

    def _take(self, name: str, kind: str, pieces: Iterable[bytes]) -> None:
        def write(path: Path) -> None:
            with path.open("xb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            self._check(path, self._store.root / name, kind)

        try:
            self._store.put(_spot_of(name), write)
        except OSError as error:
            name_file(error, self._store.root / name)
            raise
        self._new.append(name)

    def _check(self, file: Path, path: Path, kind: str) -> None:
        """Compare a file that is not in place yet with the name that it wants."""
        if not self._is_right(file, path, kind) or not path.name.startswith(path.parent.name):
            raise StoreError(f"this {kind} is not what its name says", where=path.name)

    def _is_right(self, file: Path, path: Path, kind: str) -> bool:
        if kind == "index":
            return is_index_note(file.read_bytes())
        if kind == "blob":
            with file.open("rb") as stream:
                return hashlib.file_digest(stream, path.parent.parent.name).hexdigest() == path.name
        try:
            return self._check_pack(file) == path.name
        except PackDamagedError as error:
            raise StoreError(error.what, where=path.name, hint=error.hint or "export it again") from None


def _spot_of(name: str) -> Spot:
    folder, _, own = name.rpartition("/")
    return Spot(tuple(folder.split("/")), own)


def _pieces(fd: int, start: int, size: int) -> Iterator[bytes]:
    for at in range(start, start + size, _PIECE):
        yield read_at(fd, min(_PIECE, start + size - at), at)


def _index_of(name: str) -> str:
    """Return the digest of the index that a note is about, from the note's place."""
    digits = name.rpartition("/")[2].partition("-")[0]
    return f"sha{len(digits) * 4}:{digits}"


def is_index_note(data: bytes) -> bool:
    """Whether a file holds what is known of an index: the digest of a manifest."""
    return _MANIFEST.match(data) is not None
