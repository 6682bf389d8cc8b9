"""What a machine must have for scripts to run as root, and what to do where it does not; how much room it takes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sifmake.rootless.errors import RootlessError

if TYPE_CHECKING:
    from pathlib import Path

_SPARE = 1 << 30
"""Bytes that a script may need besides the tree."""


def explain_refusal(settings: Path) -> str:
    """Return what an administrator or the user can do so that user namespaces work.

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
    return "in a container, start that one with user namespaces allowed (docker: --privileged), or build on the host"


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def check_room(folder: Path, tree_bytes: int, *, copies: int) -> None:
    """Demand that a folder has room for a tree and what a script adds to it.

    Args:
        folder: Where it will be unpacked.
        tree_bytes: Bytes of all its files.
        copies: How often it will be there: once, and once more where a script needs a copy.

    Raises:
        RootlessError: There is too little room.
        OSError: The folder cannot be looked at.
    """
    system = os.statvfs(folder)
    free, needed = system.f_bavail * system.f_frsize, tree_bytes * copies + _SPARE
    if free < needed:
        raise RootlessError(
            f"{needed >> 20} MiB are needed to run scripts, and {free >> 20} MiB are free",
            where=str(folder),
            hint="free some space there, or name another folder (SIFMAKE_TMPDIR)",
        )
