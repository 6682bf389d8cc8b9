"""Write entries and their contents as the tar stream of a layer: ustar, with PAX headers where a field is too small.

The same entries give the same bytes: no clock, no names of users, no padding of unknown content.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sifmake.errors import LayerError
from sifmake.layers.entry import BLOCK, CHAR, DIR, FIFO, FILE, HARDLINK, OPAQUE, SYMLINK, WHITEOUT, Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s64x8s8s167x")
_KINDS = {FILE: b"0", HARDLINK: b"1", SYMLINK: b"2", CHAR: b"3", BLOCK: b"4", DIR: b"5", FIFO: b"6"}
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_NAME = 100
_LARGEST_ID = 0o7777777
_LARGEST = 0o77777777777
_BLANK = b" " * 8


def tar_stream(entries: Iterable[tuple[Entry, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield the tar stream of a layer (POSIX pax; whiteouts as in the OCI image spec, layer.md).

    Args:
        entries: Each with the bytes of its content, which are used for regular files only.

    Raises:
        LayerError: A file has more or fewer bytes than its entry says, because it was modified while it was read; or a
            name begins with ``.wh.``, which would delete a file.
    """
    for entry, content in entries:
        if b"/.wh." in b"/" + entry.path:
            hint = "give the file another name"
            raise LayerError(
                "a layer cannot hold a name that begins with .wh.", where=ascii(entry.path)[2:-1], hint=hint
            )
        yield from _head(entry)
        if entry.kind == FILE and entry.size:
            yield from _body(entry, content)
    yield _END


def _body(entry: Entry, content: Iterable[bytes]) -> Iterator[bytes]:
    left = entry.size
    for piece in content:
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        where = ascii(entry.path)[2:-1]
        raise LayerError(
            "the file changed while it was read", where=where, hint="run the command again when no process writes to it"
        )
    yield bytes(-entry.size % _BLOCK)


def _head(entry: Entry) -> Iterator[bytes]:
    """Yield the header blocks of an entry."""
    if entry.kind == WHITEOUT:
        folder, _, name = entry.path.rpartition(b"/")
        yield from _head(Entry(_join(folder, b".wh." + name), FILE, 0o600, 0, 0, entry.mtime))
        return
    if entry.kind == OPAQUE:
        yield from _head(Entry(_join(entry.path, b".wh..wh..opq"), FILE, 0o600, 0, 0, entry.mtime))
        return
    path = entry.path or b"."
    if entry.kind == DIR:
        path += b"/"
    records = _records(entry, path)
    if records:
        data = b"".join(_record(key, value) for key, value in records)
        yield _header(b"PaxHeader", Entry(b"", FILE, 0o644, 0, 0, 0, len(data)), b"x")
        yield data + bytes(-len(data) % _BLOCK)
    yield _header(path, entry, _KINDS[entry.kind])


def _records(entry: Entry, path: bytes) -> list[tuple[bytes, bytes]]:
    """Return the PAX records for values that do not fit into the header block."""
    found = []
    if len(path) > _NAME:
        found.append((b"path", path))
    if len(entry.target) > _NAME:
        found.append((b"linkpath", entry.target))
    numbers = (
        (b"uid", entry.uid, _LARGEST_ID),
        (b"gid", entry.gid, _LARGEST_ID),
        (b"size", entry.size, _LARGEST),
        (b"mtime", entry.mtime, _LARGEST),
    )
    found += [(key, b"%d" % value) for key, value, most in numbers if not 0 <= value <= most]
    found += [(b"SCHILY.xattr." + name, value) for name, value in entry.xattrs]
    return found


def _record(key: bytes, value: bytes) -> bytes:
    """Return a PAX record, whose length counts its own digits."""
    body = len(key) + len(value) + 3
    size = body + len(b"%d" % body)
    size = body + len(b"%d" % size)
    return b"%d %b=%b\n" % (size, key, value)


def _header(path: bytes, entry: Entry, kind: bytes) -> bytes:
    size = entry.size if entry.kind == FILE else 0
    numbers = (entry.mode, _narrow(entry.uid, _LARGEST_ID), _narrow(entry.gid, _LARGEST_ID))
    fields = [
        path[:_NAME],
        *(b"%07o" % number for number in numbers),
        b"%011o" % _narrow(size, _LARGEST),
        b"%011o" % _narrow(entry.mtime, _LARGEST),
        _BLANK,
        kind,
        entry.target[:_NAME],
        b"ustar\x0000",
        b"%07o" % _narrow(entry.major, _LARGEST_ID),
        b"%07o" % _narrow(entry.minor, _LARGEST_ID),
    ]
    block = _FIELDS.pack(*fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _narrow(number: int, most: int) -> int:
    return number if 0 <= number <= most else 0


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name
