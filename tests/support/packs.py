"""Packs that somebody tampered with: other index parts, with checksums that fit. Also packs of format 1."""

from __future__ import annotations

import struct

import msgspec
from isal.isal_zlib import crc32

from sifmake.layers.codec import zstd_module
from sifmake.layers.pack_format import FIRST_FOOTER, FIRST_VERSION, FOOTER, FRAGMENT, Footer

PARTS = ("entries", "contents", "fragments", "meta", "residue")
AS_IS = ("fragments", "residue")


def parts_of(path):
    """Return data region, decoded index and compressed residue of a pack: lists and dicts, nothing checked."""
    raw = path.read_bytes()
    footer = Footer.decode(raw[-FOOTER.size :])
    at, found = footer.data_size, {"data": raw[: footer.data_size]}
    for name in PARTS:
        size = getattr(footer, f"{name}_size")
        part = raw[at : at + size]
        found[name] = part if name in AS_IS else msgspec.msgpack.decode(part)
        at += size
    found["fragments"] = list(FRAGMENT.iter_unpack(found["fragments"]))
    return found


def write_parts(path, parts):
    """Write a pack whose checksums hold; a part that is bytes is written as it is."""
    encoded = {name: parts[name] for name in PARTS}
    for name, part in encoded.items():
        if name == "fragments" and not isinstance(part, bytes):
            encoded[name] = b"".join(FRAGMENT.pack(*one) for one in part)
        elif not isinstance(part, bytes):
            encoded[name] = msgspec.msgpack.encode(part)
    residue = encoded.pop("residue")
    index = b"".join(encoded.values())
    sizes = [len(parts["data"]), *map(len, encoded.values())]
    footer = Footer(crc32(parts["data"]), crc32(index), *sizes, len(residue), crc32(residue))
    path.write_bytes(parts["data"] + index + residue + footer.encode())


def tamper(path, change):
    """Let ``change`` alter the parts of a pack, and make the checksums fit."""
    parts = parts_of(path)
    change(parts)
    write_parts(path, parts)


def drop_residue(path):
    """Let a pack of the present format have no residue."""
    tamper(path, lambda parts: parts.__setitem__("residue", b""))


def as_first_format(path):
    """Rewrite a pack in format 1, and return its name in a store."""
    raw = path.read_bytes()
    footer = Footer.decode(raw[-FOOTER.size :])
    sizes = (footer.data_size, footer.entries_size, footer.contents_size, footer.fragments_size, footer.meta_size)
    body = FIRST_FOOTER.pack(b"SIFMPACK", FIRST_VERSION, footer.data_crc, *sizes, footer.index_crc, 0)[:-4]
    path.write_bytes(raw[: sum(sizes)] + body + struct.pack("<I", crc32(body)))
    return path.name.replace("-128k-v2-", "-128k-v1-")


def residue(*records):
    """Return a residue of records, each a literal and a reference: nothing, a number, or number, offset and length."""
    plain = b""
    for literal, *reference in records:
        form = {0: "", 1: "<BI", 3: "<BIQQ"}[len(reference)]
        kind = {0: 0, 1: 2, 3: 3}[len(reference)]
        plain += struct.pack("<H", len(literal)) + literal
        plain += struct.pack(form, kind, *reference) if form else b"\0"
    return zstd_module().compress(plain)
