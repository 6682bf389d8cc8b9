"""Paths with a chosen image: ``PATH``, ``PATH:TAG``, ``PATH:NAME:TAG``, ``PATH@sha256:...``, ``PATH:@2``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from sifmake.reference.reference import DIGEST

_INDEX = re.compile(r"[0-9]{1,4}\Z")


class LocalReference(NamedTuple):
    """A file or folder, and the chosen image in it.

    Attributes:
        path: The file or folder.
        tag: Tag or name; empty if none was given.
        digest: Digest; empty if none was given.
        number: Place in the list of images, from 0; None if none was given.
    """

    path: Path
    tag: str = ""
    digest: str = ""
    number: int | None = None

    @property
    def name(self) -> str:
        """The path's last component with the choice as given, without the folder."""
        return f"{self.path.absolute().name}{self.choice}"

    @property
    def choice(self) -> str:
        """``:TAG``, ``@DIGEST``, ``:@NUMBER`` or nothing."""
        if self.digest:
            return f"@{self.digest}"
        if self.number is not None:
            return f":@{self.number}"
        return f":{self.tag}" if self.tag else ""


def split_local(rest: str) -> LocalReference:
    """Split the part of a URI after ``oci:``, ``oci-archive:`` or ``docker-archive:``.

    Paths may contain colons: the path is the longest part that exists; if none exists, the part before the first
    colon.
    """
    head, at, choice = rest.rpartition("@")
    if at and DIGEST.match(choice):
        return LocalReference(Path(head), digest=choice)
    if at and _INDEX.match(choice) and not Path(rest).exists():
        return LocalReference(Path(head.removesuffix(":")), number=int(choice))
    path, tag = _longest_existing(rest)
    return LocalReference(Path(path), tag=tag)


def _longest_existing(rest: str) -> tuple[str, str]:
    end = len(rest)
    while end > 0:
        if Path(rest[:end]).exists():
            return rest[:end], rest[end + 1 :]
        end = rest.rfind(":", 0, end)
    path, _, tag = rest.partition(":")
    return path, tag
