"""Digests of files that were computed before: a base of some gigabytes is not read again at each build.

A file is known by device, inode, size and the times of its last changes. Nobody can set the time of an inode's last
change back (inode(7)), so whoever writes to the file makes it unknown.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from sifmake.steps.step_key import digest_of
from sifmake.steps.step_notes import StepNote, find_note, keep_note

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.store import Store

_FORMAT = 1
_SETTLED = 2.0
"""Seconds since the last change of a file that is noted: another change in the same tick has the same time."""
_ONLY_HERE = ("a file of this machine",)
"""Lets a note count for its owner alone, and stay out of archives and remote stores."""


def known_digest(store: Store, fd: int, what: str, compute: Callable[[], str]) -> str:
    """Return a digest of an open file, computed if it is not known; noted if nobody writes to the file.

    Args:
        store: Where the notes are.
        fd: The file.
        what: Which digest.
        compute: Computes it: ``sha256:`` and hexadecimal digits.
    """
    before = _facts(fd)
    key = digest_of({"known": _FORMAT, "what": what, "file": before})
    note = find_note(store, key)
    if note is not None:
        return note.diff_id
    started, digest = time.time(), compute()
    changed = max(before[-2:]) / 1e9
    if started - changed > _SETTLED and _facts(fd) == before:
        keep_note(store, StepNote(key, digest, "file", f"digest: {what}", faked=_ONLY_HERE))
    return digest


def _facts(fd: int) -> list[int]:
    status = os.fstat(fd)
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
