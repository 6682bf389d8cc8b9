"""Notes about owners that files cannot really have: an extended attribute on files and folders."""

from __future__ import annotations

NOTE = "user.sifmake.owner"
"""Survives renaming, linking, and the copying of a file to the upper layer of an overlay."""


def owner_note(uid: int, gid: int) -> bytes:
    """Return the value of the attribute for an owner."""
    return b"%d:%d" % (uid, gid)


def noted_owner(value: bytes | None) -> tuple[int, int] | None:
    """Return the owner that a note names; None where there is no note that says one."""
    user, _, group = (value or b"").partition(b":")
    return (int(user), int(group)) if user.isdigit() and group.isdigit() else None
