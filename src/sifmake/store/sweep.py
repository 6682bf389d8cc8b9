"""Removing leftovers of killed runs: files that no process has locked and that, if locks may be invisible, are old."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sifmake.errors import StoreError
from sifmake.store.naming import KINDS, LOCKS, SCRATCH, STAMP
from sifmake.store.scratch import is_scratch
from sifmake.store.trust import DAY, OTHERS_WRITE, SKEW
from sifmake.temporaries import MARK, TEMP_PREFIX, remove_unlocked, sweep_folder, try_lock

if TYPE_CHECKING:
    from sifmake.store.folder import Folder

_DEPTH = 8
"""Levels of folders to search in a scratch folder."""


def sweep_marked(root: Folder) -> None:
    """Remove leftovers in a store and record the time; do nothing if the time cannot be recorded."""
    with suppress(OSError, StoreError):
        _sweep_all(root, _mark(root))


def sweep(root: Folder) -> None:
    """Remove leftovers in a store now; those that cannot be removed stay. Files from the future start to age."""
    try:
        now = _mark(root)
    except (OSError, StoreError):
        now = time.time()
    _sweep_all(root, now)


def _mark(root: Folder) -> float:
    """Set the stamp and return its time, by the file server's clock."""
    fd = root.open_mark(STAMP)
    try:
        os.utime(fd)
        return os.fstat(fd).st_mtime
    finally:
        os.close(fd)


def _sweep_all(root: Folder, now: float) -> None:
    _sweep(root, now, 0, everything=False)
    for name in KINDS:
        _sweep_inside(root, name, now, 2, everything=False)
    for name in (SCRATCH, LOCKS):
        _sweep_inside(root, name, now, _DEPTH, everything=True)


def _sweep_inside(parent: Folder, name: str, now: float, depth: int, *, everything: bool) -> None:
    try:
        with parent.enter(name) as folder:
            _sweep(folder, now, depth, everything=everything)
    except (OSError, StoreError):
        return


def _sweep(folder: Folder, now: float, depth: int, *, everything: bool) -> None:
    """Remove leftovers: all old, unlocked files in a scratch folder; elsewhere only temporary files."""
    sweep_folder(folder.path, folder.fd, now)
    exposed = bool(folder.status().st_mode & OTHERS_WRITE)
    for name, status in folder.entries():
        old = status.st_mtime < now - DAY
        if status.st_mtime > now + SKEW:
            with suppress(OSError):
                os.utime(name, dir_fd=folder.fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            if old and (everything or name.startswith(TEMP_PREFIX)):
                _remove(folder, name, status)
        elif depth and not (everything and exposed and not _is_own(folder, name)) and not _is_in_use(folder, name):
            _sweep_inside(folder, name, now, depth - 1, everything=everything)
            if everything and old:
                with suppress(OSError):
                    os.rmdir(name, dir_fd=folder.fd)


def _remove(folder: Folder, name: str, status: os.stat_result) -> None:
    """Remove an old, unlocked file of any owner."""
    with suppress(OSError):
        if stat.S_ISREG(status.st_mode):
            remove_unlocked(folder.fd, name, old=True, mine=False)
        else:
            folder.remove(name)


def _is_in_use(folder: Folder, name: str) -> bool:
    """Tell whether a process has locked a scratch folder, even if its files are old."""
    with suppress(OSError, StoreError), folder.enter(name) as inner:
        fd = inner.open(MARK)
        try:
            return try_lock(fd) is False
        finally:
            os.close(fd)
    return False


def _is_own(folder: Folder, name: str) -> bool:
    """Tell whether a folder is a scratch folder; if other users can write here, they may have moved it here."""
    try:
        with folder.enter(name) as inner:
            return is_scratch(inner)
    except (OSError, StoreError):
        return False
