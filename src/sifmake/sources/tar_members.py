"""The members of an uncompressed tar archive that anyone may have written (POSIX ustar, pax, GNU), in their order."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sifmake.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BLOCK = 512
MOST_MEMBERS = 1_000_000
LARGEST_EXTENSION = 1 << 20
"""Bytes of a pax header or GNU long name."""
MOST_HOPS = 40
"""Links followed from one name before it counts as a loop."""

_REGULAR = b"0\x007"
_LINKS = b"12"
_EMPTY = b"3456"
"""Devices, folders and fifos: their size, if any, announces no data."""


class ArchiveBytes(Protocol):
    """An archive's bytes, read forward.

    Attributes:
        position: Of the next byte.
    """

    @property
    def position(self) -> int:
        """See above."""

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end only."""

    def skip(self, size: int) -> bool:
        """Pass over bytes; False where the end comes before."""


@dataclass(frozen=True)
class TarMember:
    """A file in an archive, or a link to one.

    Attributes:
        name: Normalised: no ``.``, no ``..``, no slash in front.
        offset: Of the first byte of its data.
        size: Bytes.
        target: Name of the member that a link means; empty for files.
    """

    name: str
    offset: int
    size: int
    target: str = ""


def walk(archive: ArchiveBytes) -> Iterator[TarMember]:
    """Yield files and links; the data of a file may be read from the archive before the next one is asked for.

    Raises:
        IntegrityError: This is no tar archive, or it is damaged or cut off.
    """
    extra: dict[str, bytes] = {}
    for _ in range(MOST_MEMBERS):
        start = archive.position
        header = archive.take(BLOCK)
        if 0 < len(header) < BLOCK and start:
            raise IntegrityError(f"the archive is cut off: it ends at byte {archive.position} inside a header")
        if len(header) < BLOCK or not header.strip(b"\0"):
            if not start:
                raise IntegrityError("this is no tar archive, or an empty one")
            return
        if not is_header(header):
            what = "this is no tar archive" if start == 0 else f"the archive is damaged at byte {start}"
            raise IntegrityError(what)
        kind = header[156:157]
        size = _size(header, extra, start)
        if kind in b"LKxg":
            extra |= _extension(archive, kind, size)
        else:
            member = _member(header, extra, archive.position, size)
            extra = {}
            if member is not None:
                yield member
        _pass(archive, start + BLOCK + size)
    raise IntegrityError(f"the archive has more than {MOST_MEMBERS} members")


def is_header(block: bytes) -> bool:
    """Tell whether a block of 512 bytes has the checksum of a tar header."""
    try:
        announced = int(block[148:156].replace(b"\0", b" ").strip() or b"-1", 8)
    except ValueError:
        return False
    plain = block[:148] + b" " * 8 + block[156:]
    return announced == sum(plain) or announced == sum(byte - 256 if byte > 127 else byte for byte in plain)


def follow(members: Mapping[str, TarMember], name: str) -> TarMember:
    """Return the file that a name means, through links inside the archive.

    Raises:
        FileNotFoundError: There is no such file.
        IntegrityError: Links lead in a circle.
    """
    for _ in range(MOST_HOPS):
        member = members.get(name)
        if member is None:
            raise FileNotFoundError(name)
        if not member.target:
            return member
        name = member.target
    raise IntegrityError("links in the archive lead in a circle", where=name)


def _pass(archive: ArchiveBytes, end: int) -> None:
    """Go to the next header, behind what is left of a member's data."""
    if not archive.skip(end - archive.position):
        raise IntegrityError(f"the archive is cut off: it ends at byte {archive.position} inside a member")
    archive.skip(-end % BLOCK)


def _member(header: bytes, extra: Mapping[str, bytes], position: int, size: int) -> TarMember | None:
    kind = header[156:157]
    name = _inside(_text(extra.get("path", _name(header))))
    if not name:
        return None
    if kind in _LINKS:
        target = _text(extra.get("linkpath", _field(header, 157, 100)))
        base = posixpath.dirname(name) if kind == b"2" else ""
        target = _inside(posixpath.join(base, target))
        return TarMember(name, 0, 0, target) if target else None
    if kind in _REGULAR and not any(key.startswith("GNU.sparse") for key in extra):
        return TarMember(name, position, size)
    return None


def _size(header: bytes, extra: Mapping[str, bytes], position: int) -> int:
    raw = header[124:136]
    try:
        if header[156:157] in _LINKS or header[156:157] in _EMPTY:
            return 0
        if "size" in extra and header[156:157] not in b"LKxg":
            size = int(extra["size"])
        elif raw[0] & 0x80:
            size = int.from_bytes(raw[1:], "big") if raw[0] == 0x80 else -1
        else:
            size = int(raw.replace(b"\0", b" ").strip() or b"0", 8)
    except ValueError:
        size = -1
    if size < 0:
        raise IntegrityError(f"the archive has a member without a valid size at byte {position}")
    return size


def _extension(archive: ArchiveBytes, kind: bytes, size: int) -> dict[str, bytes]:
    position = archive.position
    if size > LARGEST_EXTENSION:
        raise IntegrityError(f"the archive has a header of {size} bytes at byte {position}")
    data = archive.take(size)
    if kind == b"L":
        return {"path": data.rstrip(b"\0")}
    if kind == b"K":
        return {"linkpath": data.rstrip(b"\0")}
    return _pax_records(data, position) if kind == b"x" else {}


def _pax_records(data: bytes, position: int) -> dict[str, bytes]:
    """Parse records of the form ``LENGTH KEY=VALUE`` with a line feed behind each."""
    records = {}
    while data.strip(b"\0"):
        length, space, _ = data.partition(b" ")
        if not (space and length.isdigit() and len(length) < 9 and 0 < int(length) <= len(data)):
            raise IntegrityError(f"the archive has a damaged pax header at byte {position}")
        record, data = data[: int(length)], data[int(length) :]
        key, _, value = record[len(length) + 1 :].removesuffix(b"\n").partition(b"=")
        records[key.decode(errors="surrogateescape")] = value
    return records


def _name(header: bytes) -> bytes:
    name, prefix = _field(header, 0, 100), _field(header, 345, 155)
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _field(header: bytes, start: int, length: int) -> bytes:
    return header[start : start + length].partition(b"\0")[0]


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def _inside(name: str) -> str:
    """Return a normalised name; empty for the root and for names that lead out of the archive."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
