"""The files of a layer as lines of text, so that two results of a step can be compared without their layers.

::

    sifmake files 1
    KIND MODE UID GID MTIME SIZE SHA256 XATTRS PATH TARGET

Lines are sorted by path. Paths and targets are percent-encoded; a field without a value is ``-``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from sifmake.layers.entry import BLOCK, CHAR, HARDLINK, SYMLINK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.layers.entry import Entry
    from sifmake.layers.pack_reader import Pack

_HEAD = "sifmake files 1"
_KINDS = "-dflbcpshwo"
"""Letters of the kinds of entries, by number: ``w`` hides a file of the layers below, ``o`` all files of a folder."""
_SAFE = "/!$&'()*+,:;=@~"
_NONE = "-"
_XATTR_DIGITS = 16
_NAMES = ("type", "mode", "owner", "group", "time", "size", "content", "attributes", "target")
_PATH, _FIELDS = 8, 10


class FileChange(NamedTuple):
    """A file that differs between two results of a step.

    Attributes:
        path: Its path in the image.
        what: ``added``, ``removed``, or what differs.
    """

    path: str
    what: str


def list_files(pack: Pack) -> bytes:
    """Return the list of a layer's files; the same layer gives the same bytes.

    Raises:
        PackDamagedError: The pack is damaged.
    """
    entries = sorted(pack.stored_entries(), key=lambda entry: (entry.path, entry.kind))
    contents = pack.contents
    lines = (_line(entry, contents.digest(entry.content).hex() if entry.content >= 0 else _NONE) for entry in entries)
    return "".join(f"{line}\n" for line in (_HEAD, *lines)).encode("ascii")


def _line(entry: Entry, digest: str) -> str:
    numbers = f"{entry.mode:o} {entry.uid} {entry.gid} {entry.mtime} {entry.size}"
    attributes = _NONE
    if entry.xattrs:
        attributes = hashlib.sha256(repr(entry.xattrs).encode("ascii")).hexdigest()[:_XATTR_DIGITS]
    target = _NONE
    if entry.kind in (SYMLINK, HARDLINK):
        target = quote(entry.target, safe=_SAFE)
    elif entry.kind in (CHAR, BLOCK):
        target = f"{entry.major},{entry.minor}"
    return f"{_KINDS[entry.kind]} {numbers} {digest} {attributes} /{quote(entry.path, safe=_SAFE)} {target}"


def compare_lists(old: bytes, new: bytes) -> Iterator[FileChange]:
    """Yield what differs between two lists, by path; lines that are not of this form are ignored.

    Args:
        old: The list of the former result.
        new: The list of the new one.
    """
    before, after = _rows(old), _rows(new)
    first, second = next(before, None), next(after, None)
    while first or second:
        if second is None or (first is not None and _place(first) < _place(second)):
            yield FileChange(_shown(first), "removed")
            first = next(before, None)
        elif first is None or _place(second) < _place(first):
            yield FileChange(_shown(second), "added")
            second = next(after, None)
        else:
            if first != second:
                yield FileChange(_shown(second), _differences(first, second))
            first, second = next(before, None), next(after, None)


def _rows(data: bytes) -> Iterator[list[str]]:
    start = data.find(b"\n") + 1
    while start and (end := data.find(b"\n", start)) > 0:
        row = data[start:end].decode("ascii", "replace").split(" ")
        start = end + 1
        if len(row) == _FIELDS:
            yield row


def _place(row: list[str]) -> tuple[bytes, bool]:
    return unquote_to_bytes(row[_PATH]), row[0] == "o"


def _shown(row: list[str] | None) -> str:
    return unquote_to_bytes(row[_PATH]).decode("utf-8", "backslashreplace") if row else ""


def _differences(old: list[str], new: list[str]) -> str:
    pairs = zip(_NAMES, (*old[:_PATH], old[_PATH + 1]), (*new[:_PATH], new[_PATH + 1]), strict=True)
    found = []
    for name, before, after in pairs:
        if before != after:
            found.append(name if name in ("content", "attributes") else f"{name} {before} -> {after}")
    return ", ".join(found)
