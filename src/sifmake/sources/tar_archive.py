"""Random access to the members of an uncompressed tar archive that anyone may have written (POSIX ustar, pax, GNU)."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError, SourceError
from sifmake.sources.content import Member
from sifmake.sources.spool import open_seekable

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.sources.settings import SourceSettings

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


@dataclass(frozen=True)
class _Entry:
    offset: int
    size: int
    target: str = ""


class TarArchive:
    """The files in a tar archive. Of two members of one name the last one counts."""

    def __init__(self, fd: int) -> None:
        """Read all headers.

        Args:
            fd: An open, seekable file; closed with the archive, and when it is none.

        Raises:
            IntegrityError: This is no tar archive, or it is damaged or cut off.
        """
        self._fd = fd
        try:
            self._entries = _scan(fd)
        except BaseException:
            self.close()
            raise

    def open(self, name: str) -> Member:
        """Open a file, following links inside the archive.

        Raises:
            FileNotFoundError: There is no such file.
        """
        for _ in range(MOST_HOPS):
            entry = self._entries.get(name)
            if entry is None:
                raise FileNotFoundError(name)
            if not entry.target:
                return Member(self._fd, entry.offset, entry.size)
            name = entry.target
        raise IntegrityError("links in the archive lead in a circle", where=name)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_archive(transport: str, path: Path, settings: SourceSettings) -> TarArchive:
    """Open a tar archive, which may be compressed.

    Raises:
        SourceError: There is no such file.
        IntegrityError: It is damaged.
    """
    try:
        return TarArchive(open_seekable(path, settings))
    except SourceError as error:
        raise error.within(f"{transport}:{path}") from None


def _scan(fd: int) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    end = os.fstat(fd).st_size
    position = 0
    extra: dict[str, bytes] = {}
    for _ in range(MOST_MEMBERS):
        header = os.pread(fd, BLOCK, position)
        if 0 < len(header) < BLOCK and entries:
            raise IntegrityError(f"the archive is cut off: it ends at byte {end} inside a header")
        if len(header) < BLOCK or not header.strip(b"\0"):
            if not entries:
                raise IntegrityError("this is no tar archive, or an empty one")
            return entries
        _check_sum(header, position)
        kind = header[156:157]
        size = _size(header, extra, position)
        position += BLOCK
        if position + size > end:
            raise IntegrityError(f"the archive is cut off: it ends at byte {end} inside a member")
        if kind in b"LKxg":
            extra |= _extension(fd, kind, position, size)
        else:
            _add(entries, header, extra, position, size)
            extra = {}
        position += -(-size // BLOCK) * BLOCK
    raise IntegrityError(f"the archive has more than {MOST_MEMBERS} members")


def _add(entries: dict[str, _Entry], header: bytes, extra: dict[str, bytes], position: int, size: int) -> None:
    kind = header[156:157]
    name = _inside(_text(extra.get("path", _name(header))))
    if not name:
        return
    if kind in _LINKS:
        target = _text(extra.get("linkpath", _field(header, 157, 100)))
        base = posixpath.dirname(name) if kind == b"2" else ""
        target = _inside(posixpath.join(base, target))
        if target:
            entries[name] = _Entry(0, 0, target)
    elif kind in _REGULAR and not any(key.startswith("GNU.sparse") for key in extra):
        entries[name] = _Entry(position, size)


def _check_sum(header: bytes, position: int) -> None:
    try:
        announced = int(header[148:156].replace(b"\0", b" ").strip() or b"-1", 8)
    except ValueError:
        announced = -1
    plain = header[:148] + b" " * 8 + header[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in plain)
    if announced not in (sum(plain), signed):
        what = "this is no tar archive" if position == 0 else f"the archive is damaged at byte {position}"
        raise IntegrityError(what)


def _size(header: bytes, extra: dict[str, bytes], position: int) -> int:
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


def _extension(fd: int, kind: bytes, position: int, size: int) -> dict[str, bytes]:
    if size > LARGEST_EXTENSION:
        raise IntegrityError(f"the archive has a header of {size} bytes at byte {position}")
    data = os.pread(fd, size, position)
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
