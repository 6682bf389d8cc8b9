"""Things that only tests do to a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.store.naming import PACKS, key_spot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sifmake.store import Store


def pack_path(store: Store, key: str) -> Path:
    """Return where the pack of a key goes; its folder exists."""
    spot = key_spot(PACKS, key)
    path = spot.under(store.root)
    store.temporary_folder()  # the store makes its own folder
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def add_sif(store: Store, key: str, write: Callable[[Path], object]) -> Path:
    """Let a finished SIF be written, keep it, and return where it is."""
    found = store.sifs.put(key, write)
    found.close()
    return found.path


def find_named(store: Store, name: str) -> Path | None:
    """Return the finished SIF that a name meant when it was kept, or None."""
    key = store.sifs.find_name(name)
    return store.sifs.find(key) if key else None
