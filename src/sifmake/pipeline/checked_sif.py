"""Finished SIFs of the store, compared with the SHA-256 in their names before anybody uses them.

A file is read wholly when it is used for the first time, and again when it was changed since: the own store has a note
of device, inode, size and time of change of what was found good. Header, table and superblock are looked at every time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sifmake.errors import SifError
from sifmake.files import sha256_of
from sifmake.ranges import read_at
from sifmake.store.naming import split_sif_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sifmake.store import Store

SUPERBLOCK = 96
MAGIC = b"hsqs"
USED = slice(40, 48)
"""Where a squashfs superblock has the bytes of the file system (squashfs 4.0, fs/squashfs/squashfs_fs.h)."""


def find_checked(store: Store, key: str) -> Path | None:
    """Return the finished SIF of a key, whole, or None; a damaged one leaves the own store with a warning."""
    # Finding a file renews its time stamp now and then, which is a change like any other.
    before = {path: _facts(path) for path in store.sif_paths(key)}
    tried: set[Path] = set()
    while (path := store.find_sif(key)) is not None and path not in tried:
        noted = store.find_name(_note(path))
        if (noted and noted == before.get(path) and _looks_whole(path)) or _is_whole(path):
            _keep_note(store, path, noted)
            return path
        tried.add(path)
        store.progress.warning(f"{path} is damaged and is not used; it is made again")
        store.drop_sif(path)
    return None


def add_checked(store: Store, key: str, write: Callable[[Path], object]) -> Path:
    """Let a finished SIF be written and keep it; see :meth:`~sifmake.store.store.Store.add_sif`."""
    path = store.add_sif(key, write)
    _keep_note(store, path, "")
    return path


def _is_whole(path: Path) -> bool:
    try:
        return sha256_of(path) == split_sif_name(path.name)[1]
    except OSError:
        return False


def _looks_whole(path: Path) -> bool:
    """Look at what every mount needs; what cannot be mounted for other reasons is no damage."""
    from sifmake.runtime.errors import RunError
    from sifmake.runtime.image import open_image

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        image = open_image(str(path), fd)
        block = read_at(fd, SUPERBLOCK, image.offset)
    except RunError:
        return True
    except (SifError, OSError):
        return False
    finally:
        os.close(fd)
    return block[:4] == MAGIC and int.from_bytes(block[USED], "little") <= image.size


def _note(path: Path) -> str:
    return f"checked {path}"


def _keep_note(store: Store, path: Path, noted: str) -> None:
    facts = _facts(path)
    if facts and facts != noted:
        store.keep_name(_note(path), facts)


def _facts(path: Path) -> str:
    """Return what changes when a file is written to, in the form of a key; empty for one that is not there."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return ""
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_ctime_ns}"
