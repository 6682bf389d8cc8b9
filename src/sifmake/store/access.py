"""The permission bits of what is written into a store."""

from __future__ import annotations

import stat
from typing import NamedTuple

NONE, GROUP, ALL = "none", "group", "all"
_GROUP_WRITES = stat.S_IWGRP | stat.S_ISGID


class Access(NamedTuple):
    """For whom a store is written.

    Attributes:
        shared: ``none``, ``group`` or ``all``, whatever the umask; empty: as the umask has it, but in a store whose
            folder a group writes to, that group writes to all folders, and nobody but its owner to a finished file.
        writers: Whether the group may write to a folder that is made for a store.
    """

    shared: str = ""
    writers: bool = False

    @property
    def root(self) -> int:
        """Mode of the store's own folder when it is made; one that is there keeps its mode."""
        modes = {GROUP: 0o2770 if self.writers else 0o2750, ALL: 0o755}
        return modes.get(self.shared, 0o700)

    def folder(self, root: int, made: int) -> int:
        """Return the mode of a folder in the store.

        Args:
            root: Mode of the store's folder.
            made: Mode that the new folder has.
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
        """Return the mode of a finished file that has one now: nobody but its owner writes to it."""
        return {NONE: 0o600, GROUP: 0o640, ALL: 0o644}.get(self.shared, made & 0o755)

    def mark(self, root: int, made: int) -> int:
        """Return the mode of a lock or stamp, whose content means nothing: all who write to its folder write to it."""
        return self.file(made) | (self.folder(root, 0) & stat.S_IWGRP)
