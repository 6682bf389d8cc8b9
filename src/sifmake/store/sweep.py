"""Removing what killed runs left behind, by age, at most once a day."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.files import TEMP_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DAY = 86_400
STAMP = ".swept"


def sweep_daily(root: Path, scratch: Sequence[Path]) -> None:
    """Remove old temporaries of the store, unless that was done within a day; what cannot be removed stays.

    Args:
        root: The store's folder.
        scratch: Its folders in which everything is temporary.
    """
    stamp = root / STAMP
    try:
        if time.time() - stamp.stat().st_mtime < DAY:
            return
    except OSError:
        pass
    try:
        stamp.touch()
    except OSError:
        return
    sweep(root, scratch)


def sweep(root: Path, scratch: Sequence[Path]) -> None:
    """Remove old temporaries of the store now; see :func:`sweep_daily`."""
    for path in _old_temporaries(root, scratch):
        try:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        except OSError:
            continue


def _old_temporaries(root: Path, scratch: Sequence[Path]) -> Iterator[Path]:
    """Yield what nobody has written to for a day and no finished file goes by, folders after their files."""
    limit = time.time() - DAY
    for top in (root, *scratch):
        for folder, _, names in os.walk(top, topdown=False):
            here = Path(folder)
            candidates = names if top == root else (*names, "")
            for name in candidates:
                path = here / name
                if (top != root or name.startswith(TEMP_PREFIX)) and path not in scratch and _is_old(path, limit):
                    yield path


def _is_old(path: Path, limit: float) -> bool:
    try:
        return path.lstat().st_mtime < limit
    except OSError:
        return False
