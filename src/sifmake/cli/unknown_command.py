"""Report unknown commands; for commands of Apptainer, say what to do instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_PEERS_OWN = "run it with Apptainer"
_OF_PEERS = {
    "apps": "list the apps of a file with `inspect --list-apps`",
    "capability": _PEERS_OWN,
    "checkpoint": _PEERS_OWN,
    "config": _PEERS_OWN,
    "data": _PEERS_OWN,
    "delete": "delete the image on the web page of its registry",
    "instance": "start the program in the background with `exec`, or run it with Apptainer",
    "keyserver": "import keys from files with `key import FILE`",
    "oci": _PEERS_OWN,
    "overlay": "add `--writable-tmpfs` to `exec` for temporary changes, or make the overlay with Apptainer",
    "plugin": _PEERS_OWN,
    "remote": "log in to a registry with `registry login HOST`; import keys with `key import FILE`",
    "search": "search on the web page of the registry",
}
"""Commands of the peers that sifmake does not have, and what to do instead."""


def unknown_command(word: str, commands: Iterable[str]) -> UsageError:
    """Return the error for a word that is not a command.

    Args:
        word: The word.
        commands: The existing commands.
    """
    if word in _OF_PEERS:
        return UsageError("sifmake does not have this command of Apptainer", where=word, hint=_OF_PEERS[word])
    from difflib import get_close_matches

    near = get_close_matches(word[:40], list(commands), 1, 0.7)
    hint = f"did you mean `{near[0]}`?" if near else "`help` lists all commands"
    return UsageError("there is no such command", where=word, hint=hint)
