"""The tree that a script changes, and where its layers are."""

from __future__ import annotations

import json

from sifmake.rootless.overlay import explain_overlay, mount_overlay
from sifmake.runtime.system import unmount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sifmake.rootless.plan import Plan

TREE, NOTES = "tree", "owners.json"
"""In the folder of an unpacked layer: its files, and what could not be given to them."""


class WorkTree:
    """A tree to run in.

    Attributes:
        root: Folder of the whole tree.
        upper: Folder of what was changed.
        lowers: Folders below it, highest first.
        user: Whether overlay's attributes are those of ordinary users.
        names: Names of files whose owners are noted.
    """

    def __init__(self, plan: Plan) -> None:
        self.lowers = [f"{lower}/{TREE}" for lower in plan.lowers]
        self.user = plan.mode != "root"
        self.upper = f"{plan.place}/upper"
        notes = [_read_notes(lower) for lower in plan.lowers]
        self.names = sorted({name.encode("latin-1") for one in notes for name in one["names"]})
        self._owners = {path: tuple(owner) for one in reversed(notes) for path, owner in one["owners"].items()}
        top = next((lower for lower, one in zip(plan.lowers, notes, strict=True) if one["root"]), plan.lowers[-1])
        try:
            self.root = mount_overlay(self.lowers, f"{top}/{TREE}", plan.place, user=self.user)
        except OSError as error:
            raise explain_overlay(error, plan.place) from None

    def owner_below(self, path: bytes) -> tuple[int, int] | None:
        """Return the owner that a path was to have when the layers were unpacked, if it could not have it."""
        return self._owners.get(path.decode("latin-1"))

    def close(self) -> None:
        """Unmount."""
        unmount(self.root)


def _read_notes(lower: str) -> dict[str, Any]:
    """Return what is noted beside an unpacked layer."""
    with open(f"{lower}/{NOTES}", "rb") as file:
        notes: dict[str, Any] = json.load(file)
    return notes
