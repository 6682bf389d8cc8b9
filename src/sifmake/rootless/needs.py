"""What a machine needs so that scripts can run as root: settings, how to correct them, and disk space."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sifmake.rootless.errors import RootlessError

if TYPE_CHECKING:
    from pathlib import Path

_SPARE = 1 << 30
"""Bytes that a script may need in addition to the tree."""


def explain_refusal(settings: Path) -> str:
    """Return what an administrator or the user can do to make user namespaces work.

    Args:
        settings: The folder /proc/sys.
    """
    if _number(settings / "user/max_user_namespaces") == 0:
        return "ask an administrator to run `sysctl -w user.max_user_namespaces=15000`"
    if _number(settings / "kernel/unprivileged_userns_clone") == 0:
        return "ask an administrator to run `sysctl -w kernel.unprivileged_userns_clone=1`"
    if _number(settings / "kernel/apparmor_restrict_unprivileged_userns") == 1:
        return (
            "AppArmor forbids user namespaces: ask an administrator to run "
            "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
        )
    return "if this is a container, start it with user namespaces allowed (docker: --privileged), or build on the host"


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def check_room(folder: Path, tree_bytes: int, *, copies: int) -> None:
    """Check that a folder has room for a tree and for what a script adds to it.

    Args:
        folder: Where the tree will be unpacked.
        tree_bytes: Bytes of all its files.
        copies: How many copies are needed: one, and one more if scripts need a copy.

    Raises:
        RootlessError: There is not enough room.
        OSError: The folder cannot be read.
    """
    system = os.statvfs(folder)
    free, needed = system.f_bavail * system.f_frsize, tree_bytes * copies + _SPARE
    if free < needed:
        raise RootlessError(
            f"{needed >> 20} MiB are needed to run scripts, and {free >> 20} MiB are free",
            where=str(folder),
            hint="free some space there, or name another folder (SIFMAKE_TMPDIR)",
        )
