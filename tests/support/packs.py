"""Packs that somebody tampered with: other index parts, with checksums that fit."""

from __future__ import annotations

import msgspec
from isal.isal_zlib import crc32

from sifmake.layers.pack_format import FOOTER, FRAGMENT, Footer

PARTS = ("entries", "contents", "fragments", "meta")


def parts_of(path):
    """Return data region and decoded index of a pack: lists and dicts, nothing checked."""
    raw = path.read_bytes()
    footer = Footer.decode(raw[-FOOTER.size :])
    at, found = footer.data_size, {"data": raw[: footer.data_size]}
    for name in PARTS:
        size = getattr(footer, f"{name}_size")
        part = raw[at : at + size]
        found[name] = list(FRAGMENT.iter_unpack(part)) if name == "fragments" else msgspec.msgpack.decode(part)
        at += size
    return found


def write_parts(path, parts):
    """Write a pack whose checksums hold; a part that is bytes is written as it is."""
    encoded = {name: parts[name] for name in PARTS}
    for name, part in encoded.items():
        if name == "fragments" and not isinstance(part, bytes):
            encoded[name] = b"".join(FRAGMENT.pack(*one) for one in part)
        elif not isinstance(part, bytes):
            encoded[name] = msgspec.msgpack.encode(part)
    index = b"".join(encoded.values())
    sizes = [len(parts["data"]), *map(len, encoded.values())]
    footer = Footer(crc32(parts["data"]), crc32(index), *sizes)
    path.write_bytes(parts["data"] + index + footer.encode())


def tamper(path, change):
    """Let ``change`` alter the parts of a pack, and make the checksums fit."""
    parts = parts_of(path)
    change(parts)
    write_parts(path, parts)
