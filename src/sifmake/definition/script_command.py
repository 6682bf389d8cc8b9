"""Turn a section's arguments into the command that runs its text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sifmake.definition.model import Section
    from sifmake.definition.problems import DefinitionPlace

_SHELL = ("/bin/sh", "-ex")


def script_command(section: Section, script: str, place: DefinitionPlace) -> tuple[str, ...]:
    """Return the words that run ``%post``, ``%pre`` or ``%setup``.

    Words before a comment go to the shell; those after ``-c`` become one command line that ends with the script's path.

    Args:
        section: The section with the arguments.
        script: Path of the file with the section's text.
        place: For messages.

    Raises:
        DefinitionError: Nothing follows ``-c``.
    """
    words = section.words
    if "-c" not in words:
        return (*_SHELL, *words, script)
    at = words.index("-c") + 1
    if at == len(words):
        hint = f"write %{section.name} -c COMMAND, or leave -c out"
        raise place.error(section.line, "nothing follows -c", hint, section=section.name)
    return (*_SHELL, *words[:at], " ".join([*words[at:], script]))


def interpreter_words(section: Section) -> tuple[str, ...]:
    """Return the words after ``-c``: the shell that a section names; empty for ``/bin/sh``."""
    words = section.words
    return tuple(words[words.index("-c") + 1 :]) if "-c" in words else ()
