"""Carrying parts of a store to a machine without a network, as a plain tar archive of its files."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from sifmake.errors import StoreError
from sifmake.files import atomic_write
from sifmake.limits import DEFAULT_LIMITS
from sifmake.store.naming import Spot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sifmake.store.items import Item
    from sifmake.store.store import Store

_NAMES = {
    "blob": re.compile(r"blobs/(sha256/[0-9a-f]{2}/[0-9a-f]{64}|sha512/[0-9a-f]{2}/[0-9a-f]{128})\Z"),
    "pack": re.compile(r"packs/[A-Za-z0-9]{2}/[A-Za-z0-9][A-Za-z0-9._+-]{2,199}\Z"),
    "index": re.compile(r"indexes/[0-9a-f]{2}/[0-9a-f]{64,128}-[A-Za-z0-9%._-]{1,100}\Z"),
}
EXCHANGED = frozenset(_NAMES)
"""Kinds of files that an archive may hold; finished SIFs are made of them in a moment."""
_END = bytes(1024)
"""Two blocks of zeros end every tar archive (POSIX pax)."""

_MANIFEST = re.compile(rb"sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})\n?\Z")
_LARGEST = {"blob": DEFAULT_LIMITS.config_bytes, "pack": 2 * DEFAULT_LIMITS.layer_bytes, "index": 256}


@dataclass(frozen=True)
class Imported:
    """What an import did: names of the files that are new, and how many were there already."""

    new: list[str]
    known: int


def write_archive(items: Iterable[Item], target: Path) -> int:
    """Write files of a store into a tar archive, the same bytes for the same files; return their count.

    Args:
        items: Blobs, packs and indexes.
        target: Replaced when all is written.
    """
    count = 0
    with atomic_write(target) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for item in items:
            with os.fdopen(item.open(), "rb") as source:
                info = tarfile.TarInfo(item.place)
                info.size = os.fstat(source.fileno()).st_size
                archive.addfile(info, source)
            count += 1
    return count


def read_archive(store: Store, source: Path, check_pack: Callable[[Path], str]) -> Imported:
    """Take the files of an archive into the writable store, each after its check.

    Args:
        store: What is there already stays as it is.
        source: A tar archive that :func:`write_archive` made, from wherever.
        check_pack: Returns the key that the pack in a file has, after checking all of it; raises
            :class:`~sifmake.errors.PackDamagedError`.

    Raises:
        StoreError: The archive is damaged or holds what does not belong into a store; what stood before is kept.
    """
    new: list[str] = []
    known = 0
    try:
        _demand_end(source)
        with tarfile.open(source, mode="r:") as archive:
            for member in archive:
                kind = _kind_of(member)
                if store.has(Spot(tuple(member.name.split("/")[:-1]), member.name.rpartition("/")[2])):
                    known += 1
                    continue
                data = archive.extractfile(member)
                _take(store, member.name, kind, data, check_pack)
                new.append(member.name)
    except tarfile.TarError as error:
        raise StoreError(f"is no archive of a store ({error})", where=str(source)) from error
    except StoreError as error:
        raise error.within(str(source)) from None
    return Imported(new, known)


def _demand_end(source: Path) -> None:
    """Refuse an archive that was cut off between two members, which reading alone does not notice."""
    with source.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - len(_END)))
        if file.read() != _END:
            raise StoreError("is no archive of a store, or was cut off", hint="copy it again")


def _kind_of(member: tarfile.TarInfo) -> str:
    """Return what a member is; names of other forms could lead out of the store."""
    kind = next((name for name, form in _NAMES.items() if form.match(member.name)), None)
    if kind is None or not member.isreg():
        raise StoreError("holds what does not belong into a store", where=member.name)
    if member.size > _LARGEST[kind]:
        raise StoreError(f"is too large for a {kind}, {member.size} bytes", where=member.name)
    return kind


def _take(store: Store, name: str, kind: str, data: IO[bytes] | None, check_pack: Callable[[Path], str]) -> None:
    folder, _, own_name = name.rpartition("/")

    def write(path: Path) -> None:
        with path.open("xb") as file:
            shutil.copyfileobj(data or io.BytesIO(), file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        _check(path, store.root / name, kind, check_pack)

    store.put(Spot(tuple(folder.split("/")), own_name), write)


def _check(file: Path, path: Path, kind: str, check_pack: Callable[[Path], str]) -> None:
    """Compare a file that is not in place yet with the name that it wants."""
    if kind == "pack":
        good = check_pack(file) == path.name
    elif kind == "blob":
        with file.open("rb") as stream:
            good = hashlib.file_digest(stream, path.parent.parent.name).hexdigest() == path.name
    else:
        good = is_index_note(file.read_bytes())
    if not good or not path.name.startswith(path.parent.name):
        raise StoreError(f"this {kind} is not what its name says", where=path.name)


def is_index_note(data: bytes) -> bool:
    """Whether a file holds what is known of an index: the digest of a manifest."""
    return _MANIFEST.match(data) is not None
