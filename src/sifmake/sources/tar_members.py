"""Parsing of an untrusted, uncompressed tar archive (POSIX ustar, pax, GNU), member by member."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sifmake.errors import IntegrityError, LimitError
from sifmake.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sifmake.limits import Limits

BLOCK = 512
_MOST_HOPS = 40
"""Most links to follow from one name; more are treated as a loop."""

_REGULAR = b"0\x007"
_LINKS = b"12"
_EMPTY = b"3456"
"""Devices, folders and FIFOs; their size field does not announce data."""
_EXTENSIONS = b"LKxg"
_SIZE_DIGITS = 19
_LENGTH_DIGITS = 8
_SPARSE = "GNU.sparse"
_KEPT = {b"path": "path", b"linkpath": "linkpath", b"size": "size"}
"""Keys of pax headers that are used; all others are ignored."""


class ArchiveBytes(Protocol):
    """An archive's bytes, read forward.

    Attributes:
        position: Position of the next byte.
    """

    @property
    def position(self) -> int:
        """See above."""

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end only."""

    def skip(self, size: int) -> bool:
        """Skip bytes; False if the archive ends before."""


@dataclass(frozen=True)
class TarMember:
    """A file in an archive, or a link to one.

    Attributes:
        name: Normalised: no ``.``, no ``..``, no slash in front.
        offset: Offset of the first byte of its data.
        size: Bytes.
        target: Name of the member to which a link points; empty for files.
    """

    name: str
    offset: int
    size: int
    target: str = ""


@dataclass(frozen=True)
class ArchiveEntry:
    """An entry of an archive, extended headers applied.

    Attributes:
        name: Its name in the archive.
        kind: Type of the entry, one byte (POSIX ustar, ``typeflag``).
        link: Target of a link, unchanged.
        offset: Offset of the first byte of its data.
        size: Bytes of its data.
        sparse: Whether the data are those of a sparse file in one of GNU's formats.
    """

    name: str
    kind: bytes
    link: str
    offset: int
    size: int
    sparse: bool

    @property
    def is_plain(self) -> bool:
        """Whether it is a file whose bytes are its data."""
        return self.kind in _REGULAR and not self.sparse


def walk(archive: ArchiveBytes, limits: Limits = DEFAULT_LIMITS) -> Iterator[TarMember]:
    """Yield files and links; the data of a file may be read from the archive before the next one is asked for.

    Raises:
        IntegrityError: As for :func:`entries_of`.
    """
    for entry in entries_of(archive, limits):
        member = _member(entry)
        if member is not None:
            yield member


def entries_of(archive: ArchiveBytes, limits: Limits = DEFAULT_LIMITS) -> Iterator[ArchiveEntry]:
    """Yield all entries; the data of one may be read from the archive before the next one is asked for.

    Args:
        archive: The archive.
        limits: ``archive_members``, ``archive_headers_bytes`` and ``pax_bytes`` apply.

    Raises:
        IntegrityError: It is not a tar archive, or is damaged or truncated, or exceeds a limit.
    """
    extra: dict[str, bytes] = {}
    headers = 0
    for _ in range(limits.archive_members):
        start = archive.position
        header = archive.take(BLOCK)
        if not _demand_header(header, start, archive.position):
            if extra:
                raise IntegrityError("the archive is truncated: it ends after an extended header")
            return
        kind = header[156:157]
        size = _size(header, extra, start)
        if kind in _EXTENSIONS:
            headers += size
            if size > limits.pax_bytes or headers > limits.archive_headers_bytes:
                hint = "raise pax-bytes or archive-headers-bytes (limits: in sifmake.yaml)"
                raise LimitError(_too_long(size, headers, start, limits), hint=hint)
            extra |= _extension(archive, kind, size)
        else:
            yield _entry(header, extra, archive.position, size)
            extra = {}
        _pass(archive, start + BLOCK + size)
    what = f"the archive has more than {limits.archive_members} members and extended headers"
    raise LimitError(what, hint="raise archive-members (limits: in sifmake.yaml)")


def _demand_header(header: bytes, start: int, end: int) -> bool:
    """Return whether an entry begins here, False at the archive's end; anything else is an error."""
    if 0 < len(header) < BLOCK and start:
        raise IntegrityError(f"the archive is truncated: it ends at byte {end} inside a header")
    if len(header) < BLOCK or not header.strip(b"\0"):
        if not start:
            raise IntegrityError("not a tar archive, or an empty one")
        return False
    if not is_header(header):
        raise IntegrityError("not a tar archive" if start == 0 else f"the archive is damaged at byte {start}")
    return True


def _too_long(size: int, headers: int, start: int, limits: Limits) -> str:
    if size > limits.pax_bytes:
        return f"the archive has a header of {size} bytes at byte {start}; {limits.pax_bytes} are allowed"
    return f"the archive has extended headers of {headers} bytes and more; {limits.archive_headers_bytes} are allowed"


def is_header(block: bytes) -> bool:
    """Tell whether a block of 512 bytes has the checksum of a tar header."""
    try:
        announced = int(block[148:156].replace(b"\0", b" ").strip() or b"-1", 8)
    except ValueError:
        return False
    plain = block[:148] + b" " * 8 + block[156:]
    return announced == sum(plain) or announced == sum(byte - 256 if byte > 127 else byte for byte in plain)


def follow(members: Mapping[str, TarMember], name: str) -> TarMember:
    """Return the file with a name, following links inside the archive.

    Raises:
        FileNotFoundError: There is no such file.
        IntegrityError: Links form a loop, or lead to nothing.
    """
    link = ""
    for _ in range(_MOST_HOPS):
        member = members.get(name)
        if member is None and link:
            what = f"is a link to {name!r}, which is not in the archive"
            raise IntegrityError(what, where=link, hint="the archive is incomplete; save the image again")
        if member is None:
            raise FileNotFoundError(name)
        if not member.target:
            return member
        name, link = member.target, name
    raise IntegrityError("links in the archive form a loop", where=name)


def _pass(archive: ArchiveBytes, end: int) -> None:
    """Go to the next header, skipping the rest of a member's data."""
    if not archive.skip(end - archive.position):
        raise IntegrityError(f"the archive is truncated: it ends at byte {archive.position} inside a member")
    archive.skip(-end % BLOCK)


def _entry(header: bytes, extra: Mapping[str, bytes], position: int, size: int) -> ArchiveEntry:
    kind = header[156:157]
    name = _text(extra.get("path", _name(header)))
    link = _text(extra.get("linkpath", _field(header, 157, 100))) if kind in _LINKS else ""
    return ArchiveEntry(name, kind, link, position, size, _SPARSE in extra)


def _member(entry: ArchiveEntry) -> TarMember | None:
    """Return the file or link of an entry; None for other entries."""
    name = _inside(entry.name)
    if not name:
        return None
    if entry.kind in _LINKS:
        base = posixpath.dirname(name) if entry.kind == b"2" else ""
        target = _inside(posixpath.join(base, entry.link))
        return TarMember(name, 0, 0, target) if target else None
    return TarMember(name, entry.offset, entry.size) if entry.is_plain else None


def _size(header: bytes, extra: Mapping[str, bytes], position: int) -> int:
    raw = header[124:136]
    try:
        if header[156:157] in _LINKS or header[156:157] in _EMPTY:
            return 0
        if "size" in extra and header[156:157] not in _EXTENSIONS:
            size = int(extra["size"][: _SIZE_DIGITS + 1])
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
    data = archive.take(size)
    if kind == b"L":
        return {"path": data.rstrip(b"\0")}
    if kind == b"K":
        return {"linkpath": data.rstrip(b"\0")}
    return _pax_records(data, position) if kind == b"x" else {}


def _pax_records(data: bytes, position: int) -> dict[str, bytes]:
    """Parse records of the form ``LENGTH KEY=VALUE`` each with a final line feed; keep the keys that are used."""
    records: dict[str, bytes] = {}
    start, stop = 0, len(data.rstrip(b"\0"))
    while start < stop:
        blank = data.find(b" ", start, start + _LENGTH_DIGITS + 1)
        length = data[start:blank] if blank > 0 else b""
        end = start + int(length) if length.isdigit() else 0
        if blank < 0 or not blank < end <= len(data):
            raise IntegrityError(f"the archive has a damaged pax header at byte {position}")
        key, _, value = data[blank + 1 : end].removesuffix(b"\n").partition(b"=")
        if key in _KEPT:
            records[_KEPT[key]] = value
        elif key.startswith(b"GNU.sparse"):
            records[_SPARSE] = b""
        start = end
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
