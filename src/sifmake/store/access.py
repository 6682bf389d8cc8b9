"""The permission bits of files and folders that sifmake writes into a store."""

from __future__ import annotations

import stat
from typing import NamedTuple

NONE, GROUP, ALL = "none", "group", "all"
_GROUP_WRITES = stat.S_IWGRP | stat.S_ISGID


class Access(NamedTuple):
    """Who may use a store.

    Attributes:
        shared: ``none``, ``group`` or ``all``, regardless of the umask. Empty to follow the umask; but if a group can
            write to the store's folder, it can write to all folders, and only the owner can write to a finished file.
        writers: Whether the group may write to a folder that is created for a store.
    """

    shared: str = ""
    writers: bool = False

    @property
    def root(self) -> int:
        """Mode of the store's folder when it is created; an existing folder keeps its mode."""
        modes = {GROUP: 0o2770 if self.writers else 0o2750, ALL: 0o755}
        return modes.get(self.shared, 0o700)

    def folder(self, root: int, made: int) -> int:
        """Return the mode of a folder in the store.

        Args:
            root: Mode of the store's folder.
            made: Present mode of the new folder.
        """
        group_writes = bool(root & stat.S_IWGRP)
        match self.shared:
            case "none":
                return 0o700
            case "group":
                return 0o2770 if group_writes else 0o2750
            case "all":
                return 0o755 | (root & _GROUP_WRITES if group_writes else 0)
        return (made & 0o2755) | (root & 0o3070 if group_writes else 0)

    def file(self, made: int) -> int:
        """Return the mode for a finished file with a present mode: only its owner can write to it."""
        return {NONE: 0o600, GROUP: 0o640, ALL: 0o644}.get(self.shared, made & 0o755)

    def mark(self, root: int, made: int) -> int:
        """Return the mode of a lock or stamp, so everyone who can write to its folder may write to it."""
        return self.file(made) | (self.folder(root, 0) & stat.S_IWGRP)
