"""Finished SIF files of the store, compared with the SHA-256 in their names before they are used.

A file is hashed on first use, and again if it changed since then: the writable store keeps a note of the device, inode,
size and change time of each file that was found good. Renaming a file changes its change time. Header, table and
superblock are checked on every use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sifmake.errors import SifError
from sifmake.files import sha256_of_open
from sifmake.ranges import read_at
from sifmake.store.naming import has_digest, split_sif_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sifmake.store import Store
    from sifmake.store.stored_files import Found

_SUPERBLOCK = 96
_MANIFEST = "oci-manifest.json"
_MAGIC = b"hsqs"
_USED = slice(40, 48)
"""Offset of the file system's size in a squashfs superblock (squashfs 4.0, fs/squashfs/squashfs_fs.h)."""


def find_checked(store: Store, key: str) -> Found | None:
    """Return the finished SIF file of a key, open and undamaged, or None; a damaged one is removed with a warning."""
    tried: set[Path] = set()
    while (found := store.sifs.open(key)) is not None:
        noted = store.sifs.find_name(_note(found.path))
        known = noted and noted == _facts(found.fd) and _looks_whole(found)
        why = "" if known else _why_not(found, key)
        if not why:
            store.sifs.renew(found)  # this changes the change time, which the next line notes
            _keep_note(store, found, noted)
            return found
        found.close()
        if found.path in tried:
            break
        tried.add(found.path)
        store.progress.warning(f"{found.path} is {why} and is not used; it will be rebuilt")
        store.sifs.drop(found.path)
    return None


def add_checked(store: Store, key: str, write: Callable[[Path], object]) -> Found:
    """Have a finished SIF file written and keep it; see :meth:`~sifmake.store.sifs.FinishedSifs.put`."""
    found = store.sifs.put(key, write)
    note_checked(store, found)
    return found


def note_checked(store: Store, found: Found) -> None:
    """Keep a note that a new file has the SHA-256 in its name."""
    _keep_note(store, found, "")


def why_wrong(found: Found, key: str) -> str:
    """Read a complete file and return what is certainly wrong with it; empty if nothing is."""
    if not _is_whole(found):
        return "damaged"
    return "another image's" if _is_of(found, key) is False else ""


def _why_not(found: Found, key: str) -> str:
    """Return why a file cannot be used: it must prove that it belongs to its key, unless its name does."""
    return why_wrong(found, key) or ("" if _is_of(found, key) else "perhaps another image's")


def _is_whole(found: Found) -> bool:
    try:
        return sha256_of_open(found.fd) == split_sif_name(found.path.name)[1]
    except OSError:
        return False


def _is_of(found: Found, key: str) -> bool | None:
    """Tell whether a file belongs to a key; its name proves nothing if other users can rename files.

    A file that was made from an image contains the image's manifest; for a prebuilt file the key may be its digest.
    Return None if neither applies.
    """
    digest = key.partition("-")[0]
    if not found.exposed or split_sif_name(found.path.name)[1] == digest:
        return True
    from sifmake.sif.reader import read_sif

    try:
        sif = read_sif(found.fd, found.path)
        (manifest,) = sif.find(name=_MANIFEST)
        return has_digest(sif.read(manifest), f"sha{len(digest) * 4}:{digest}")
    except (SifError, OSError, ValueError):
        return None


def _looks_whole(found: Found) -> bool:
    """Check what every mount needs; other reasons not to mount a file are not damage."""
    from sifmake.runtime.errors import RunError
    from sifmake.runtime.image import open_image

    try:
        image = open_image(str(found.path), found.fd)
        block = read_at(found.fd, _SUPERBLOCK, image.offset)
    except RunError:
        return True
    except (SifError, OSError):
        return False
    return block[:4] == _MAGIC and int.from_bytes(block[_USED], "little") <= image.size


def _note(path: Path) -> str:
    return f"checked {path}"


def _keep_note(store: Store, found: Found, noted: str) -> None:
    facts = _facts(found.fd)
    if facts != noted:
        store.sifs.keep_name(_note(found.path), facts)


def _facts(fd: int) -> str:
    """Return the attributes of a file that change if someone writes to it, as a key."""
    status = os.fstat(fd)
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_ctime_ns}"
