"""What the operations of the store return: its files, and what checking, removing, exporting and importing did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_SHARING = ("pack", "patch", "container")
"""Kinds of files that are large enough to share blocks."""


@dataclass(frozen=True)
class CachedFile:
    """One file of the store.

    Attributes:
        kind: ``pack``, ``patch``, ``blob``, ``index``, ``name``, ``step`` (a note on what a step of a build gave),
            ``container`` (a finished SIF file) or ``tree`` (an unpacked tree of a build, which is not in the store).
        name: Digest of a blob, else the file's name.
        size: Bytes.
        used: When it was last used, to the hour.
        path: The file.
        title: First line of a step's script; empty for other kinds.
    """

    kind: str
    name: str
    size: int
    used: datetime
    path: Path
    title: str = ""

    @property
    def shared(self) -> int:
        """Bytes in blocks that the file shares with others on disk at present; 0 if the file system does not tell.

        Btrfs counts a whole extent if a part of it is shared.
        """
        from sifmake.reflinks import shared_bytes

        return shared_bytes(self.path) if self.kind in _SHARING else 0


@dataclass(frozen=True)
class CacheCheck:
    """What :meth:`Cache.verify` found.

    Attributes:
        checked: How many files were checked.
        damaged: How many were damaged; they were removed, and are made again when they are needed.
        untrusted: How many are not trusted; they were left in place and are not used.
        unproven: Names of the packs that cannot be compared with their layer, and are used because of their owner:
            those of format 1, and those with an odd layer.
    """

    checked: int
    damaged: int
    untrusted: int
    unproven: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether every file is undamaged and trusted."""
        return not self.damaged and not self.untrusted


@dataclass(frozen=True)
class CacheRemoval:
    """What :meth:`Cache.collect` or :meth:`Cache.clean` did, or would do.

    Attributes:
        removed: The files that were removed, or would be.
        kept: Files that cannot be removed, with the reason.
        left: Bytes that remain in the store.
    """

    removed: tuple[CachedFile, ...]
    kept: tuple[tuple[CachedFile, str], ...]
    left: int

    @property
    def size(self) -> int:
        """Bytes of the removed files."""
        return sum(file.size for file in self.removed)


@dataclass(frozen=True)
class CacheExport:
    """What :meth:`Cache.export_archive` wrote.

    Attributes:
        files: How many files the archive holds.
        size: Bytes of the archive.
    """

    files: int
    size: int


@dataclass(frozen=True)
class CacheImport:
    """What :meth:`Cache.import_archive` did.

    Attributes:
        new: Files that were added.
        known: How many the store had already.
        left_out: Notes on indexes that cannot be proven, because those indexes are missing.
        steps: How many of the new files are notes on steps of builds.
        unproven: Keys of packs that could not be compared with their layer: only their source speaks for them.
    """

    new: tuple[str, ...]
    known: int
    left_out: tuple[str, ...]
    steps: int = 0
    unproven: tuple[str, ...] = ()
