"""Notes on steps that a configured key signed, so that they are believed wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sifmake.errors import KeyFileError, SigningError
from sifmake.project.configuration import DEVELOPMENT
from sifmake.steps.step_notes import NOTE_TYPE, keep_signed, note_bytes, parse_note, signed_notes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.project.configuration import Configuration
    from sifmake.signing import TrustStore
    from sifmake.steps.step_notes import StepNote
    from sifmake.store import Store


@dataclass
class NoteSignatures:
    """Signs notes with the configured key, and believes those by trusted keys.

    Attributes:
        configuration: Names the keys.
        store: Where notes are.
    """

    configuration: Configuration
    store: Store

    def notes(self, key: str) -> Iterator[StepNote]:
        """Yield the notes of a step that a trusted key signed, if nothing was faked in it."""
        from sifmake.signing.statements import open_statement

        for envelope in signed_notes(self.store, key):
            try:
                note = parse_note(open_statement(envelope, NOTE_TYPE, self._trust), key)
            except SigningError:
                continue
            if note is not None and not note.faked:
                yield note

    def sign(self, note: StepNote) -> None:
        """Keep a signed copy of a note if a PEM key is configured and its passphrase need not be asked for."""
        if note.faked or self._signs_nothing:
            return
        from sifmake.signing import Passphrase
        from sifmake.signing.statements import sign_statement

        try:
            envelope = sign_statement(note_bytes(note), NOTE_TYPE, self.configuration.key, Passphrase())
        except KeyFileError:  # it signs images, and asks then
            self._signs_nothing = True
        else:
            keep_signed(self.store, note, envelope)

    @cached_property
    def _signs_nothing(self) -> bool:
        key = self.configuration.key
        return key in ("", DEVELOPMENT) or key.startswith("gpg:")

    @cached_property
    def _trust(self) -> TrustStore:
        from sifmake.project.keys import load_project_trust

        return load_project_trust(self.configuration)
