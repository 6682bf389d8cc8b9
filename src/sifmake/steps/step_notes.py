"""Notes in the store: which layer a step has given.

A key is made of what goes in, so nothing proves what came out. A note is believed for who wrote it: this user or a
trusted owner; one of a step in which something was faked only this user.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec

from sifmake.definition.apps import READ_APPS
from sifmake.errors import StoreError
from sifmake.oci.digest import is_digest

if TYPE_CHECKING:
    from sifmake.store import Store
    from sifmake.store.items import Item

_NOTE_BYTES = 4 << 20
"""Largest note: it holds the variables of a shell."""
_SHOWN = 100
_BLANKS = re.compile(r"\s+")


class StepNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a step has given.

    Attributes:
        key: Of the step: a file may have been given another name.
        diff_id: Of the layer.
        mode: How the step ran: ``root``, ``subuid`` or ``single``.
        title: First line of its text, for people.
        labels: What it wrote into ``$APPTAINER_LABELS``.
        snapshot: State of the shell for the next step; empty without one.
        ended: Whether the script said ``exit 0`` itself, so that no later step runs.
        faked: What happened that the layer cannot hold.
    """

    key: str
    diff_id: str
    mode: str
    title: str
    labels: bytes = b""
    snapshot: bytes = b""
    ended: bool = False
    faked: tuple[str, ...] = ()


def title_of(text: str) -> str:
    """Return the first line of a script that says something, cut to what a list has room for."""
    lines = (_BLANKS.sub(" ", line).strip() for line in text.removeprefix(READ_APPS).splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return first if len(first) <= _SHOWN else f"{first[: _SHOWN - 3]}..."


def find_note(store: Store, key: str) -> StepNote | None:
    """Return what is noted of a step by somebody who is believed; None if nothing is."""
    found = store.steps.read(key, _NOTE_BYTES)
    if found is None:
        return None
    data, owner = found
    note = _parse_note(data, key)
    if note is None:
        store.progress.warning(f"the note of the step {key[:12]} in the store is damaged and is not used")
        return None
    return None if note.faked and owner != os.geteuid() else note


def title_in(item: Item) -> str:
    """Return the title in a note that a store lists; empty where the note is damaged."""
    try:
        note = _parse_note(item.read(_NOTE_BYTES), item.name)
    except (OSError, StoreError):
        return ""
    return note.title if note else ""


def why_damaged(item: Item) -> str:
    """Say what is wrong with a note that a store lists; empty where nothing is."""
    return "" if _parse_note(item.read(_NOTE_BYTES + 1), item.name) else "it is not the note of that step"


def keep_note(store: Store, note: StepNote) -> None:
    """Keep what a step has given."""
    store.steps.keep(note.key, msgspec.json.encode(note))


def _parse_note(data: bytes, key: str) -> StepNote | None:
    """Return a note, or None if these bytes are not the note of that step."""
    try:
        note = msgspec.json.decode(data, type=StepNote)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return note if note.key == key and is_digest(note.diff_id) else None
