"""Notes in the store on tests that passed, so that a test runs again only if the image or the test has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.steps.step_key import digest_of
from sifmake.steps.step_notes import StepNote, find_note, keep_note, title_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sifmake.store import Store

_FORMAT = 1
"""Increase this number when the same test of the same image may have another result."""
_MODE = "test"


def passed_key(objects: Mapping[int, str], text: str, *, network: bool) -> str:
    """Return the key of a test.

    Args:
        objects: Digests of the data objects of the unsigned SIF file by number.
        text: The test: a script, which is part of the image, or a command.
        network: Whether it has the host's network.
    """
    found = sorted((int(number), digest.rpartition(":")[2]) for number, digest in objects.items())
    return digest_of({"passed": _FORMAT, "objects": found, "text": text, "network": network})


def run_once(store: Store, key: str, text: str, run: Callable[[], None], *, again: bool = False) -> None:
    """Run a test unless this user or a trusted owner noted that it passed; then note it.

    Args:
        store: Where the notes are.
        key: See :func:`passed_key`.
        text: The test, for the note.
        run: Runs it; raises if it fails.
        again: Whether to run it anyway.
    """
    note = None if again else find_note(store, key)
    if note is None or note.mode != _MODE:
        run()
        keep_note(store, StepNote(key, f"sha256:{key}", _MODE, f"test: {title_of(text)}"))
