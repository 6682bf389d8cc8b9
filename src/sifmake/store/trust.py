"""Whose files in a store are believed, and how using a file keeps it young."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

RENEW_AFTER = 3600
"""Seconds after which use renews a time stamp; less often spares the file server."""


def why_not_trusted(path: Path, root: Path, owners: Collection[int]) -> str | None:
    """Say why a file of a store is not to be used; None when it is.

    A pack cannot be checked against its layer any more, so in a store that others can write to only files of
    trusted owners count. A symlink is never followed.

    Args:
        path: The file; it exists.
        root: The store's folder.
        owners: Trusted user ids.

    Raises:
        OSError: The file is not there or cannot be looked at.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    if status.st_uid not in owners:
        return f"it belongs to user {status.st_uid}, who is not trusted"
    if status.st_mode & stat.S_IWOTH and root.stat().st_mode & stat.S_IXOTH:
        return "everybody can write to it"
    return None


def renew(path: Path) -> None:
    """Set a file's time stamps to now if they are older than an hour; a file that cannot be touched stays as it is."""
    now = time.time()
    try:
        if now - path.stat().st_mtime > RENEW_AFTER:
            os.utime(path)
    except OSError:
        pass
