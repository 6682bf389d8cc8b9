"""Moving parts of a store to a machine without a network, as a plain tar archive of its files."""

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
from sifmake.store.archive_input import open_archive, shown_source
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
    "step": re.compile(r"steps/[0-9a-f]{2}/[0-9a-f]{64}(?:-[0-9a-f]{32}(?:\.signed)?)?\Z"),
    "index": re.compile(r"indexes/[0-9a-f]{2}/(?:[0-9a-f]{64}|[0-9a-f]{128})-[A-Za-z0-9%._-]{1,100}\Z"),
}
EXCHANGED = frozenset(_NAMES)
"""Kinds of files that an archive may contain; finished SIFs can be made from them quickly."""
_END = bytes(1024)
"""Two blocks of zeros end every tar archive (POSIX pax)."""

_MANIFEST = re.compile(rb"sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})\n?\Z")
_LARGEST = {"blob": DEFAULT_LIMITS.config_bytes, "pack": 2 * DEFAULT_LIMITS.layer_bytes, "index": 256, "step": 6 << 20}
_KEY_DIGITS = 64


_PIECE = 1 << 20
_SHOWN = 200
"""Most characters of an invalid name to show."""


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        new: Names of the files that were added.
        known: How many the store had already.
        left_out: Names of notes on indexes that are neither in the archive nor in the store, so they are unproven.
        steps: How many notes on steps were added.
    """

    new: list[str]
    known: int
    left_out: list[str]
    steps: int = 0


def write_archive(items: Iterable[Item], target: BinaryIO) -> tuple[int, int]:
    """Write files of a store to a tar archive; the same files give the same bytes.

    Args:
        items: Blobs, packs, indexes and notes on steps.
        target: The archive; it is written in order, so it may be a pipe.

    Returns:
        The number of files and of bytes.
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
    store: Store,
    source: Path,
    check_pack: Callable[[Path], str],
    limits: Limits = DEFAULT_LIMITS,
    *,
    kept_note: Callable[[str, bytes], tuple[str, bytes]] = lambda *_: ("", b""),
) -> Imported:
    """Check each file of an archive and add it to the writable store.

    Args:
        store: The store; existing files are not changed.
        source: A tar archive made by :func:`write_archive`, which need not be trusted; ``-`` is standard input.
        check_pack: Checks all of a pack file and returns its key; raises
            :class:`~sifmake.errors.PackDamagedError`.
        limits: Provides ``archive_members``, ``archive_headers_bytes`` and ``pax_bytes``.
        kept_note: Gets the key of a step and a note, and returns name and bytes of the file that is kept; empty if it
            is not a note of that step.

    Raises:
        NoRoomError: The store does not have enough room for the new files; nothing was added.
        StoreError: The archive is damaged, or has a file that does not belong in a store; files before it are kept.
        OSError: From reading or writing.
    """
    try:
        with open_archive(source, store) as fd:
            _demand_end(fd)
            taking = _Import(store, fd, check_pack, kept_note)
            taking.check_room(limits)
            return taking.take_all(limits)
    except LimitError as error:
        raise StoreError(error.what, where=shown_source(source), hint=error.hint) from None
    except IntegrityError as error:
        raise StoreError(f"not an archive of a store ({error})", where=shown_source(source)) from None
    except StoreError as error:
        raise error.within(shown_source(source)) from None


def _demand_end(fd: int) -> None:
    """Refuse an archive that was truncated between two members, because reading its members does not notice that."""
    status = os.fstat(fd)
    end = max(0, status.st_size - len(_END))
    if not stat.S_ISREG(status.st_mode) or read_at(fd, len(_END), end) != _END:
        raise StoreError("not an archive of a store, or truncated", hint="copy it again")


class _Import:
    """The import of one archive into a store."""

    def __init__(
        self,
        store: Store,
        fd: int,
        check_pack: Callable[[Path], str],
        kept_note: Callable[[str, bytes], tuple[str, bytes]],
    ) -> None:
        self._store = store
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._check_pack = check_pack
        self._kept_note = kept_note
        self._steps = 0
        self._seen: set[str] = set()
        self._notes: dict[str, bytes] = {}
        self._new: list[str] = []
        self._known = 0

    def check_room(self, limits: Limits) -> None:
        """Check that there is room for the new packs, before the first file is written.

        Raises:
            NoRoomError: There is not enough.
        """
        try:
            entries = [entry for entry in entries_of(FileBytes(self._fd), limits) if _NAMES["pack"].match(entry.name)]
        except IntegrityError:
            return  # adding the files will fail in the same way
        place = store_place(self._store.root)
        if find_shortage(Need(place, min(entry.size, self._size)) for entry in entries):
            new = [entry for entry in entries if not self._store.has(_spot_of(entry.name))]
            check_room(Need(place, min(entry.size, self._size)) for entry in new)

    def take_all(self, limits: Limits) -> Imported:
        for entry in entries_of(FileBytes(self._fd), limits):
            kind = self._kind_of(entry)
            if kind == "step":
                self._take_step(entry)
            elif self._store.has(_spot_of(entry.name)):
                self._known += 1
            elif kind == "index":
                # The index that proves it may come later in the archive.
                self._notes[entry.name] = read_at(self._fd, entry.size, entry.offset)
            else:
                self._take(entry.name, kind, _pieces(self._fd, entry.offset, entry.size))
        left_out = [name for name, note in self._notes.items() if not self._take_note(name, note)]
        return Imported(self._new, self._known, left_out, self._steps)

    def _take_step(self, entry: ArchiveEntry) -> None:
        """Add a note on a step under the name that it gets here, because nothing proves what it says."""
        folder, _, own = entry.name.rpartition("/")
        name, note = self._kept_note(own[:_KEY_DIGITS], read_at(self._fd, entry.size, entry.offset))
        if not name:
            raise StoreError("this step does not match its name", where=entry.name)
        if self._store.has(_spot_of(f"{folder}/{name}")):
            self._known += 1
        else:
            self._take(f"{folder}/{name}", "step", [note])
            self._steps += 1

    def _kind_of(self, entry: ArchiveEntry) -> str:
        """Return the kind of an entry; other names are refused, because they could lead out of the store."""
        kind = next((name for name, form in _NAMES.items() if form.match(entry.name)), None)
        if kind is None or not entry.is_plain:
            raise StoreError("the archive has a file that does not belong in a store", where=entry.name[:_SHOWN])
        if entry.size > _LARGEST[kind]:
            raise StoreError(f"has {entry.size} bytes, too large for {kind} files", where=entry.name)
        if entry.offset + entry.size > self._size:
            raise StoreError("not an archive of a store, or truncated", where=entry.name, hint="copy it again")
        if entry.name in self._seen:
            raise StoreError("occurs twice in the archive", where=entry.name)
        self._seen.add(entry.name)
        return kind

    def _take_note(self, name: str, note: bytes) -> bool:
        """Add a note on an index if the index confirms it; return False if the index is missing."""
        manifest, index = note.decode("ascii", "replace").strip(), _index_of(name)
        document = self._store.blobs.get(index)
        if is_index_note(note) and document is None:
            return False
        if document is None or not is_member(document, manifest, self._store.blobs.get):
            raise StoreError("this index does not match its name", where=name)
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
        """Compare a file with its name before it is moved into place."""
        if not self._is_right(file, path, kind) or not path.name.startswith(path.parent.name):
            raise StoreError(f"this {kind} does not match its name", where=path.name)

    def _is_right(self, file: Path, path: Path, kind: str) -> bool:
        if kind == "step":
            return True
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
    """Return the digest of the index that a note is about, from the note's path."""
    digits = name.rpartition("/")[2].partition("-")[0]
    return f"sha{len(digits) * 4}:{digits}"


def is_index_note(data: bytes) -> bool:
    """Whether a file contains a note on an index: the digest of a manifest."""
    return _MANIFEST.match(data) is not None
