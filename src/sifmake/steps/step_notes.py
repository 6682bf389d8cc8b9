"""Notes in the store that record the layer of a step.

A key depends on the inputs of a step, so it cannot prove the output. A note is therefore trusted for its owner: this
user or a trusted owner; if something was faked in the step, only this user. Other notes need another proof, which the
caller asks for: a signature, or a lock that names the same result.
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
    from collections.abc import Iterator

    from sifmake.store import Store
    from sifmake.store.items import Item

_NOTE_BYTES = 4 << 20
"""Largest size of a note, which contains the variables of a shell."""
_SHOWN = 100
_DIGITS = 32
"""Digits of a DiffID in the name of an unproven note."""
_BLANKS = re.compile(r"\s+")


class StepNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The result of a step.

    Attributes:
        key: Key of the step, because the file may have been renamed.
        diff_id: DiffID of the layer.
        mode: How the step ran: ``root``, ``subuid`` or ``single``; ``test`` for a test that passed, which has no layer.
        title: First line of its text, for display.
        labels: What it wrote into ``$APPTAINER_LABELS``.
        snapshot: State of the shell for the next step; empty without one.
        ended: Whether the script called ``exit 0``, so that no later step runs.
        faked: What the layer cannot store.
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
    """Return the first meaningful line of a script, cut to the width of a list."""
    lines = (_BLANKS.sub(" ", line).strip() for line in text.removeprefix(READ_APPS).splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return first if len(first) <= _SHOWN else f"{first[: _SHOWN - 3]}..."


def find_note(store: Store, key: str) -> StepNote | None:
    """Return the note of a step from a trusted owner; None if there is none."""
    found = store.steps.read(key, _NOTE_BYTES)
    if found is None:
        return None
    data, owner = found
    note = _parse_note(data, key)
    if note is None:
        store.progress.warning(f"the note of the step {key[:12]} in the store is damaged and is not used")
        return None
    return None if note.faked and owner != os.geteuid() else note


def other_notes(store: Store, key: str) -> Iterator[StepNote]:
    """Yield all notes of a step, whoever wrote them; the caller must have another reason to believe one."""
    for data in store.steps.read_all(key, _NOTE_BYTES):
        note = _parse_note(data, key)
        if note is not None and not note.faked:
            yield note


def title_in(item: Item) -> str:
    """Return the title of a note in the store; empty if the note is damaged."""
    try:
        note = _parse_note(item.read(_NOTE_BYTES), _key_in(item.name))
    except (OSError, StoreError):
        return ""
    return note.title if note else ""


def why_damaged(item: Item) -> str:
    """Return what is wrong with a note in the store; empty if nothing is."""
    return "" if _parse_note(item.read(_NOTE_BYTES + 1), _key_in(item.name)) else "it is not the note of that step"


def keep_note(store: Store, note: StepNote) -> None:
    """Write the note of a step; a note on another result stays under another name, because a lock may name it."""
    found = store.steps.read(note.key, _NOTE_BYTES)
    earlier = _parse_note(found[0], note.key) if found else None
    if earlier is not None and earlier.diff_id != note.diff_id:
        _keep_unproven(store, earlier)
    store.steps.keep(note.key, msgspec.json.encode(note))


def _keep_unproven(store: Store, note: StepNote) -> None:
    """Write a note that is used only if something else proves it."""
    store.steps.keep(f"{note.key}-{note.diff_id.partition(':')[2][:_DIGITS]}", msgspec.json.encode(note))


def _key_in(name: str) -> str:
    """Return the key in the name of a note's file."""
    return name.partition("-")[0]


def _parse_note(data: bytes, key: str) -> StepNote | None:
    """Parse the note of a step; None if the bytes are not that note."""
    try:
        note = msgspec.json.decode(data, type=StepNote)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return note if note.key == key and is_digest(note.diff_id) else None
