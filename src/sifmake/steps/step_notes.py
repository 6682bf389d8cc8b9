"""Notes in the store that record the layer of a step.

A key depends on the inputs of a step, so it cannot prove the output. A note is therefore trusted for its owner: this
user or a trusted owner; if something was faked in the step, only this user. Other notes need another proof, which the
caller asks for: a signature, or a lock that names the same result.
"""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING

import msgspec

from sifmake.definition.apps import READ_APPS
from sifmake.errors import StoreError
from sifmake.json_text import without_surrogates
from sifmake.oci.digest import is_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.store import Store
    from sifmake.store.items import Item

_NOTE_BYTES = 4 << 20
"""Largest size of a note, which contains the variables of a shell."""
MOST_BYTES = 6 << 20
"""Largest size of a signed note, which contains the note in base64."""
NOTE_TYPE = "application/vnd.sifmake.step+json"
"""Media type of signed notes."""
_SIGNED = ".signed"
_SHOWN = 100
_DIGITS = 32
"""Digits of a DiffID in the name of an unproven note."""
_BLANKS = re.compile(r"\s+")


class StepNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The result of a step.

    Attributes:
        key: Key of the step, because the file may have been renamed.
        diff_id: DiffID of the layer.
        mode: How the step ran: ``root``, ``subuid`` or ``single``; ``test`` for a test that passed, which has no layer;
            ``file`` for the digest of a file.
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

    def __post_init__(self) -> None:
        """Write bytes that are not UTF-8 as escapes, because scripts and names of files may have such bytes."""
        msgspec.structs.force_setattr(self, "title", without_surrogates(self.title))
        msgspec.structs.force_setattr(self, "faked", tuple(map(without_surrogates, self.faked)))


class _Envelope(msgspec.Struct, omit_defaults=True):
    """A DSSE envelope that contains a note; without signatures it marks a note that needs another proof."""

    payload: str
    signatures: object = None


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
    note = parse_note(data, key)
    if note is None:
        store.progress.warning(f"the note of the step {key[:12]} in the store is damaged and is not used")
        return None
    return None if note.faked and owner != os.geteuid() else note


def other_notes(store: Store, key: str) -> Iterator[StepNote]:
    """Yield all notes of a step, whoever wrote them; the caller must have another reason to believe one."""
    for _, data in store.steps.read_all(key, MOST_BYTES):
        note = _find_in(data, key)
        if note is not None and not note.faked:
            yield note


def signed_notes(store: Store, key: str) -> Iterator[bytes]:
    """Yield the signed notes of a step as they are; their signatures are not checked."""
    return (data for name, data in store.steps.read_all(key, MOST_BYTES) if name.endswith(_SIGNED))


def title_in(item: Item) -> str:
    """Return the title of a note in the store; empty if the note is damaged."""
    note = _read(item)
    return note.title if note else ""


def is_shared(item: Item) -> bool:
    """Tell whether a note in the store may count for other users, because nothing was faked in its step."""
    note = _read(item)
    return note is not None and not note.faked


def _read(item: Item) -> StepNote | None:
    try:
        return _find_in(item.read(MOST_BYTES), key_in(item.name))
    except (OSError, StoreError):
        return None


def why_damaged(item: Item) -> str:
    """Return what is wrong with a note in the store; empty if nothing is."""
    return "" if _find_in(item.read(MOST_BYTES + 1), key_in(item.name)) else "it is not the note of that step"


def keep_note(store: Store, note: StepNote) -> None:
    """Write the note of a step; a note on another result stays under another name, because a lock may name it."""
    found = store.steps.read(note.key, _NOTE_BYTES)
    earlier = parse_note(found[0], note.key) if found else None
    if earlier is not None and earlier.diff_id != note.diff_id:
        store.steps.keep(_unproven_name(earlier), _unproven_bytes(earlier))
    store.steps.keep(note.key, note_bytes(note))


def keep_signed(store: Store, note: StepNote, envelope: bytes) -> None:
    """Write a note with its signature.

    Args:
        store: The store.
        note: The note.
        envelope: A DSSE envelope of type :data:`NOTE_TYPE`.
    """
    store.steps.keep(_unproven_name(note) + _SIGNED, envelope)


def keep_foreign(store: Store, key: str, data: bytes) -> bool:
    """Keep a note from elsewhere, which is used only if something proves it; return whether it is one of that step.

    Args:
        store: The store.
        key: Key of the step.
        data: A note, or a signed one.
    """
    name, kept = foreign_note(key, data)
    if name:
        store.steps.keep(name, kept)
    return bool(name)


def foreign_note(key: str, data: bytes, *, trusted: bool = False) -> tuple[str, bytes]:
    """Return the name and the bytes of the file for a note from elsewhere; empty if it is not a note of that step.

    Whoever can rename the file cannot make it one of this user's notes: an unproven note has another form than those.

    Args:
        key: Key of the step.
        data: A note, or a signed one; what is signed is not checked.
        trusted: Whether a note without signature counts as one of this user, if nothing was faked in the step.
    """
    note = _find_in(data, key) if len(data) <= MOST_BYTES else None
    if note is None:
        return "", b""
    envelope = _envelope_in(data)
    if envelope is not None and envelope.signatures is not None:
        return _unproven_name(note) + _SIGNED, data
    if trusted and not note.faked:
        return key, note_bytes(note)
    return _unproven_name(note), _unproven_bytes(note)


def note_bytes(note: StepNote) -> bytes:
    """Return the content of a note's file."""
    return msgspec.json.encode(note)


def _unproven_bytes(note: StepNote) -> bytes:
    return msgspec.json.encode(_Envelope(base64.b64encode(note_bytes(note)).decode()))


def _unproven_name(note: StepNote) -> str:
    return f"{note.key}-{note.diff_id.partition(':')[2][:_DIGITS]}"


def key_in(name: str) -> str:
    """Return the key in the name of a note's file."""
    return name.partition("-")[0]


def _find_in(data: bytes, key: str) -> StepNote | None:
    """Return the note in a file, signed or not; what is signed is not checked."""
    note = parse_note(data, key)
    if note is not None:
        return note
    envelope = _envelope_in(data)
    try:
        payload = base64.b64decode(envelope.payload, validate=True) if envelope is not None else b""
    except ValueError:
        return None
    return parse_note(payload, key)


def _envelope_in(data: bytes) -> _Envelope | None:
    try:
        return msgspec.json.decode(data, type=_Envelope)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def parse_note(data: bytes, key: str) -> StepNote | None:
    """Parse the note of a step; None if the bytes are not that note."""
    try:
        note = msgspec.json.decode(data, type=StepNote)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return note if note.key == key and is_digest(note.diff_id) else None
