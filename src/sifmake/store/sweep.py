"""Removing what killed runs left behind, by age, at most once a day."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from sifmake.files import TEMP_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400
STAMP = ".swept"


def sweep_daily(root: Path, scratch: Path) -> None:
    """Remove old temporaries of the store, unless that was done within a day.

    Args:
        root: The store's folder.
        scratch: Its folder for spooling, in which everything is temporary.
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
    for path in old_temporaries(root, scratch):
        path.unlink(missing_ok=True)


def old_temporaries(root: Path, scratch: Path, age: float = DAY) -> Iterator[Path]:
    """Yield files that nobody has written to for ``age`` seconds and that no finished file goes by."""
    limit = time.time() - age
    for folder, _, names in os.walk(root):
        here = type(root)(folder)
        for name in names:
            if not name.startswith(TEMP_PREFIX) and scratch not in (here, *here.parents):
                continue
            path = here / name
            try:
                if path.lstat().st_mtime < limit:
                    yield path
            except OSError:
                continue
