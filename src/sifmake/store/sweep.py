"""Removing what killed runs left behind, by age."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sifmake.errors import StoreError
from sifmake.files import TEMP_PREFIX
from sifmake.store.naming import KINDS, LOCKS, SCRATCH, STAMP
from sifmake.store.scratch import is_scratch
from sifmake.store.trust import DAY, OTHERS_WRITE, SKEW

if TYPE_CHECKING:
    from sifmake.store.folder import Folder

_DEPTH = 8
"""Levels of folders in a scratch folder that are looked into."""


def sweep_marked(root: Folder) -> None:
    """Remove old temporaries of a store and mark when, in a store that lets itself be marked; the rest stays."""
    try:
        fd = root.open_mark(STAMP)
        try:
            os.utime(fd)
        finally:
            os.close(fd)
    except (OSError, StoreError):
        return
    sweep(root)


def sweep(root: Folder) -> None:
    """Remove old temporaries of a store now; what cannot be removed stays. Files from the future begin to age."""
    limit = time.time() - DAY
    _sweep(root, limit, 0, everything=False)
    for name in KINDS:
        _sweep_inside(root, name, limit, 2, everything=False)
    for name in (SCRATCH, LOCKS):
        _sweep_inside(root, name, limit, _DEPTH, everything=True)


def _sweep_inside(parent: Folder, name: str, limit: float, depth: int, *, everything: bool) -> None:
    try:
        with parent.enter(name) as folder:
            _sweep(folder, limit, depth, everything=everything)
    except (OSError, StoreError):
        return


def _sweep(folder: Folder, limit: float, depth: int, *, everything: bool) -> None:
    """Remove old files: all of a scratch folder, else those that have a temporary's name."""
    exposed = bool(folder.status().st_mode & OTHERS_WRITE)
    for name, status in folder.entries():
        old = status.st_mtime < limit
        if status.st_mtime > limit + DAY + SKEW:
            with suppress(OSError):
                os.utime(name, dir_fd=folder.fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            if old and (everything or name.startswith(TEMP_PREFIX)):
                with suppress(OSError):
                    folder.remove(name)
        elif depth and not (everything and exposed and not _is_own(folder, name)):
            _sweep_inside(folder, name, limit, depth - 1, everything=everything)
            if everything and old:
                with suppress(OSError):
                    os.rmdir(name, dir_fd=folder.fd)


def _is_own(folder: Folder, name: str) -> bool:
    """Tell whether a folder is a scratch folder; where others write, it may be one that they moved there."""
    try:
        with folder.enter(name) as inner:
            return is_scratch(inner)
    except (OSError, StoreError):
        return False
