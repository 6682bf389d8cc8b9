"""Find Apptainer and SingularityCE on PATH, skipping programs with these names that are sifmake."""

from __future__ import annotations

import os

from sifmake.runtime.rootfs import programs

_HEAD_BYTES = 1 << 16
"""Bytes of a script to read."""
_OURSELVES = rb"""(?im)^[^#\n]*(?:^|[\s/"'`=;|&({$])sifmake(?:["'`\s;|&)}.]|$)"""
"""A line, other than a comment, in which ``sifmake`` is a command or a module."""


def find_peer(name: str) -> str:
    """Return the path of Apptainer or SingularityCE, or an empty string.

    A program with that name may run sifmake: one written by ``sifmake shim``, a link to ``sifmake``, one in another
    environment, a wrapper. Executing it would never end, so the next one on PATH is used.

    Args:
        name: ``apptainer`` or ``singularity``.
    """
    return next((path for path in programs(name) if not is_ourselves(path)), "")


def is_ourselves(path: str) -> bool:
    """Whether a program is a script that runs ``sifmake``; False if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if os.pread(fd, 2, 0) != b"#!":
            return False
        text = os.pread(fd, _HEAD_BYTES, 0)
    except OSError:
        return False
    finally:
        os.close(fd)
    import re

    return re.search(_OURSELVES, text) is not None
