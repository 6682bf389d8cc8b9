"""Older versions of a prebuilt SIF file, whose unchanged parts an update reuses; they are only read."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from sifmake.builder.name_meanings import find_meaning
from sifmake.errors import SifmakeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sifmake.oci.model import Platform
    from sifmake.reference import Uri
    from sifmake.store import Store


def older_file(path: Path) -> Callable[[], int | None]:
    """Return a function that opens the file at a path; it returns None unless that is a regular file to read."""
    return lambda: _open_regular(path)


def older_of_name(store: Store, uri: Uri, platform: Platform) -> Callable[[], int | None]:
    """Return a function that opens the SIF file of the store that a name pointed to last; None if there is none."""
    return lambda: _open_stored(store, lambda: find_meaning(store, uri, platform))


def older_of_key(store: Store, key: str) -> Callable[[], int | None]:
    """Return a function that opens the SIF file of a key of the store; None if there is none."""
    return lambda: _open_stored(store, lambda: key)


def _open_regular(path: Path) -> int | None:
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    return None


def _open_stored(store: Store, find_key: Callable[[], str]) -> int | None:
    """Return the open file without checking it, because the digest of the new one is checked anyway."""
    with suppress(OSError, SifmakeError):  # a store that cannot be read has no older file, and no other effect here
        key = find_key()
        found = store.sifs.open(key) if key else None
        return found.fd if found is not None else None
    return None
