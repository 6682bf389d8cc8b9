"""The tree that a script changes, and its layers."""

from __future__ import annotations

import json
import os

from sifmake.rootless import kernel
from sifmake.rootless.changes import CopyChanges, OverlayChanges
from sifmake.rootless.copying import copy_layers
from sifmake.rootless.overlay import mount_overlay
from sifmake.runtime.system import MS_NODEV, unmount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sifmake.rootless.changes import Changes, FindOwner, Unwanted
    from sifmake.rootless.plan import Plan

TREE, NOTES = "tree", "owners.json"
"""In the folder of an unpacked layer: its files, and notes on what could not be set."""


class WorkTree:
    """A tree to run in.

    Attributes:
        root: Folder of the whole tree.
        names: Names of files with noted owners.
        owners: Owners of paths that could not be noted at the files.
    """

    def __init__(self, plan: Plan) -> None:
        self._lowers = [f"{lower}/{TREE}" for lower in plan.lowers]
        self._place = plan.place
        self._single = plan.mode == "single"
        self._prefix = "trusted.overlay." if plan.mode == "root" else "user.overlay."
        notes = [_read_notes(lower) for lower in plan.lowers]
        self.names = sorted({name.encode("latin-1") for one in notes for name in one["names"]})
        self.owners: dict[str, tuple[int, int]] = {
            path: (uid, gid) for one in reversed(notes) for path, (uid, gid) in one["owners"].items()
        }
        top = next((lower for lower, one in zip(plan.lowers, notes, strict=True) if one["root"]), plan.lowers[-1])
        self._top = f"{top}/{TREE}"
        self.root = f"{plan.place}/root"
        self._copying = plan.copy or not self._overlay(user=plan.mode != "root")
        if not self._copying:
            return
        if not os.path.isdir(self.root):
            os.mkdir(self.root)
        copy_layers(self._lowers, self.root)
        # A mount of its own, so that it can become the root of a mount namespace and devices in it cannot be opened.
        kernel.bind(self.root, self.root, flags=MS_NODEV)

    def changes(self, unwanted: Unwanted, find_owner: FindOwner) -> Changes:
        """Return the changes in the tree; call it before the script runs, and iterate afterwards."""
        changes: Changes
        if self._copying:
            changes = CopyChanges(self.root, unwanted, find_owner)
        else:
            changes = OverlayChanges(f"{self._place}/upper", self._lowers, self._top, unwanted, find_owner)
            changes.overlay = self._prefix
        changes.inherits = self._single
        return changes

    def _overlay(self, *, user: bool) -> bool:
        try:
            mount_overlay(self._lowers, self._top, self._place, user=user)
        except OSError:
            return False
        return True

    def owner_below(self, path: bytes) -> tuple[int, int] | None:
        """Return the owner that unpacking could not set for a path."""
        return self.owners.get(path.decode("latin-1"))

    def close(self) -> None:
        """Unmount."""
        unmount(self.root)


def _read_notes(lower: str) -> dict[str, Any]:
    """Return the notes next to an unpacked layer."""
    with open(f"{lower}/{NOTES}", "rb") as file:
        notes: dict[str, Any] = json.load(file)
    return notes
