"""The tree that a script changes, and where its layers are."""

from __future__ import annotations

import json

from sifmake.rootless import kernel
from sifmake.rootless.overlay import explain_overlay, mount_overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
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
    """

    def __init__(self, plan: Plan) -> None:
        self.lowers = [f"{lower}/{TREE}" for lower in plan.lowers]
        self.user = plan.mode != "root"
        self.upper = f"{plan.place}/upper"
        top = next((lower for lower in plan.lowers if _read_notes(lower)["root"]), plan.lowers[-1])
        try:
            self.root = mount_overlay(self.lowers, f"{top}/{TREE}", plan.place, user=self.user)
        except OSError as error:
            raise explain_overlay(error, plan.place) from None

    def close(self) -> None:
        """Unmount."""
        kernel.unmount(self.root)


def _read_notes(lower: str) -> dict[str, object]:
    """Return what is noted beside an unpacked layer."""
    with open(f"{lower}/{NOTES}", "rb") as file:
        notes: dict[str, object] = json.load(file)
    return notes
