"""What a store holds, file by file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.files import TEMP_PREFIX
from sifmake.store.naming import BLOBS, INDEXES, NAMES, PACKS, PATCHES, SIFS

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = {BLOBS: "blob", INDEXES: "index", PACKS: "pack", PATCHES: "patch", SIFS: "container", NAMES: "name"}
"""Folders of the store and what their files are called."""


@dataclass(frozen=True)
class Item:
    """One finished file of a store.

    Attributes:
        kind: A value of :data:`KINDS`.
        name: Digest of a blob (``sha256:...``), else the file's name.
        path: The file.
        place: Its path inside the store.
        size: Bytes.
        used: Seconds since 1970 of the last use, exact to an hour.
    """

    kind: str
    name: str
    path: Path
    place: str
    size: int
    used: float


def list_items(root: Path, *folders: str) -> Iterator[Item]:
    """Yield everything finished in a store, or in some of its folders; files that go away meanwhile are left out."""
    for folder in folders or KINDS:
        kind = KINDS[folder]
        for path in sorted(_files(root / folder)):
            try:
                status = path.stat(follow_symlinks=False)
            except OSError:
                continue
            name = f"{path.parent.parent.name}:{path.name}" if kind == "blob" else path.name
            yield Item(kind, name, path, str(path.relative_to(root)), status.st_size, status.st_mtime)


def _files(folder: Path) -> Iterator[Path]:
    for here, _, names in os.walk(folder):
        for name in names:
            if not name.startswith(TEMP_PREFIX):
                yield Path(here, name)
