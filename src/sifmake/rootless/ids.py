"""The ids that a user may have in a user namespace: the lines of subuid(5) and subgid(5)."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, NamedTuple

from sifmake.rootless.errors import RootlessError

if TYPE_CHECKING:
    from collections.abc import Iterable

_WANTED = 65536
"""Ids that images use: 0 to 65535."""
_FILES = ("/etc/subuid", "/etc/subgid")


class Range(NamedTuple):
    """Ids in a namespace, and the ids outside that they map to.

    Attributes:
        inside: First id in the namespace.
        outside: First id outside.
        size: How many.
    """

    inside: int
    outside: int
    size: int

    def words(self) -> list[str]:
        """Return the arguments for newuidmap(1)."""
        return [str(self.inside), str(self.outside), str(self.size)]


class IdMap(NamedTuple):
    """Users and groups of a namespace.

    Attributes:
        users: Ranges of user ids.
        groups: Ranges of group ids.
    """

    users: tuple[Range, ...]
    groups: tuple[Range, ...]


def _single_map(uid: int, gid: int) -> IdMap:
    """Return the map that every user may have: root is the user, and there are no other ids."""
    return IdMap((Range(0, uid, 1),), (Range(0, gid, 1),))


def granted_map(uid: int, gid: int) -> IdMap | None:
    """Return the map with root as the user and the ids that the system grants; None if it grants none."""
    users, groups = (_granted(path, uid) for path in _FILES)
    if not users or not groups:
        return None
    return IdMap((Range(0, uid, 1), *users), (Range(0, gid, 1), *groups))


def mapped_words(mode: str) -> tuple[list[list[str]], list[list[str]]]:
    """Return this user's ranges of user and group ids in a mode, as arguments for newuidmap(1); none for root.

    Raises:
        RootlessError: The system has granted no ids.
    """
    if mode == "root":
        return [], []
    uid, gid = os.geteuid(), os.getegid()
    ids = _single_map(uid, gid) if mode == "single" else granted_map(uid, gid)
    if not ids:
        raise RootlessError(
            "the system grants this user no ids for a user namespace",
            where="/etc/subuid",
            hint="ask an administrator to run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`",
        )
    return [one.words() for one in ids.users], [one.words() for one in ids.groups]


def _granted(path: str, uid: int) -> tuple[Range, ...]:
    """Return the ranges that a file grants to a user, from id 1 on without a gap."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 20).splitlines()
    except OSError:
        return ()
    return _ranges(lines, {str(uid), *_names(uid)})


def _ranges(lines: Iterable[str], names: set[str]) -> tuple[Range, ...]:
    """Return the ranges in lines ``NAME:FIRST:COUNT``, up to the number of wanted ids."""
    ranges: list[Range] = []
    following = 1
    for line in lines:
        name, _, rest = line.strip().partition(":")
        first, _, count = rest.partition(":")
        if name in names and first.isdecimal() and count.isdecimal() and following < _WANTED:
            taken = min(int(count), _WANTED - following)
            ranges += [Range(following, int(first), taken)] if taken else []
            following += taken
    return tuple(ranges)


def _names(uid: int) -> list[str]:
    try:
        return [pwd.getpwuid(uid).pw_name]
    except KeyError:
        return []
