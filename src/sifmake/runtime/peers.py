"""Apptainer and SingularityCE on PATH, told apart from programs of these names that are sifmake itself."""

from __future__ import annotations

import os

from sifmake.runtime.rootfs import programs

_HEAD_BYTES = 1 << 16
"""How much of a script is looked at."""
_OURSELVES = rb"""(?im)^[^#\n]*(?:^|[\s/"'`=;|&({$])sifmake(?:["'`\s;|&)}.]|$)"""
"""A line, other than a comment, in which ``sifmake`` is a command or a module."""


def find_peer(name: str) -> str:
    """Return the path of Apptainer or SingularityCE, or nothing.

    A program of that name may lead back here: what ``sifmake shim`` wrote, a link to ``sifmake``, that of another
    environment, a wrapper. To execute it would go round in a circle, so the next on PATH counts.

    Args:
        name: ``apptainer`` or ``singularity``.
    """
    return next((path for path in programs(name) if not is_ourselves(path)), "")


def is_ourselves(path: str) -> bool:
    """Whether a program is a script that runs ``sifmake``; one that cannot be read is not."""
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
