"""Tar streams by hand and by Python's tarfile, what `TarReader` sees in them, and Go's archive/tar as the oracle."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, NamedTuple

import pytest

from sifmake.errors import LayerError
from sifmake.layers.tar import TarReader
from sifmake.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.limits import Limits

END = bytes(1024)
GO_READS = Path(__file__).with_name("read_tar.go")

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not on this machine")


class Seen(NamedTuple):
    """A member and the SHA-256 of its content."""

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    linkname: bytes
    devmajor: int
    devminor: int
    xattrs: tuple[tuple[bytes, bytes], ...]
    sha256: str


def octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def block(name: bytes = b"f", kind: bytes = b"0", size: int | bytes = 0, **fields: bytes) -> bytes:
    """Return one ustar header block; every keyword replaces a field's bytes, the checksum is right unless given."""
    values = {
        "name": name,
        "mode": octal(0o644, 8),
        "uid": octal(0, 8),
        "gid": octal(0, 8),
        "size": octal(size, 12) if isinstance(size, int) else size,
        "mtime": octal(0, 12),
        "checksum": b" " * 8,
        "kind": kind,
        "link": b"",
        "magic": b"ustar\x0000",
        "uname": b"",
        "gname": b"",
        "major": octal(0, 8),
        "minor": octal(0, 8),
        "rest": b"",
    } | fields
    raw = struct.pack("100s8s8s8s12s12s8sc100s8s32s32s8s8s167s", *values.values())
    if "checksum" in fields:
        return raw
    return raw[:148] + b"%06o\0 " % sum(raw) + raw[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def record(key: bytes, value: bytes) -> bytes:
    """Return one PAX record, its own length included in its length."""
    body = b" " + key + b"=" + value + b"\n"
    size = len(body)
    while size != len(str(size)) + len(body):
        size = len(str(size)) + len(body)
    return b"%d" % size + body


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """Return an extended header with its data."""
    return pax_raw(b"".join(record(key, value) for key, value in records), kind)


def pax_raw(data: bytes, kind: bytes = b"x") -> bytes:
    return block(b"PaxHeaders/f", kind, len(data)) + padded(data)


def gnu_long(kind: bytes, text: bytes) -> bytes:
    """Return a GNU long name (``L``) or long link (``K``) entry."""
    return block(b"././@LongLink", kind, len(text) + 1, magic=b"ustar  \0") + padded(text + b"\0")


def file(name: bytes, data: bytes = b"", **fields: bytes) -> bytes:
    return block(name, size=len(data), **fields) + padded(data)


def by_tarfile(*entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return what Python's tarfile writes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def chunked(raw: bytes, size: int = 1 << 20) -> Iterator[bytes]:
    return (raw[at : at + size] for at in range(0, len(raw), size))


def read(chunks: bytes | Iterable[bytes], limits: Limits = DEFAULT_LIMITS) -> list[Seen]:
    """Read a whole stream through `TarReader`."""
    seen: list[Seen] = []
    read_into(seen, chunks, limits)
    return seen


def read_into(seen: list[Seen], chunks: bytes | Iterable[bytes], limits: Limits = DEFAULT_LIMITS) -> None:
    """Like `read`, keeping what came before an error."""
    reader = TarReader(iter([chunks] if isinstance(chunks, bytes) else chunks), limits)
    for member in reader:
        digest, size = hashlib.sha256(), 0
        for piece in reader.data():
            digest.update(piece)
            size += len(piece)
        assert size == member.size
        values = (getattr(member, field) for field in Seen._fields[:-1])
        seen.append(Seen(*values, digest.hexdigest()))


def ours(raw: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[list[Seen], str]:
    """Return the members and the error's text, empty when there was none."""
    seen: list[Seen] = []
    try:
        read_into(seen, chunked(raw), limits)
    except LayerError as error:
        return seen, str(error)
    return seen, ""


@cache
def _go_program() -> str:
    program = f"{mkdtemp(prefix='sifmake-go-')}/read_tar"
    subprocess.run(["go", "build", "-o", program, str(GO_READS)], check=True, capture_output=True, timeout=120)
    return program


def by_go(*raws: bytes) -> list[tuple[list[Seen], str]]:
    """Return what Go's archive/tar reads in each stream, in the form of `ours`."""
    streams = b"".join(struct.pack(">Q", len(raw)) + raw for raw in raws)
    answer = subprocess.run([_go_program()], input=streams, check=True, capture_output=True, timeout=120)
    results = [json.loads(line) for line in answer.stdout.splitlines()]
    return [
        ([_seen(m) for m in result["Members"] or [] if m["Type"] != ord("g")], result["Error"]) for result in results
    ]


def _seen(member: dict) -> Seen:
    """Translate Go's header: what has no meaning for a type counts as empty."""
    kind = bytes([member["Type"]])
    kind = b"0" if kind in b"\x007S" else kind
    is_device = kind in b"34"
    return Seen(
        bytes.fromhex(member["Name"]),
        kind,
        member["Mode"] & 0o7777,
        member["Uid"],
        member["Gid"],
        member["Size"] if kind == b"0" else 0,
        member["Mtime"],
        bytes.fromhex(member["Link"]) if kind in b"12" else b"",
        member["Major"] if is_device else 0,
        member["Minor"] if is_device else 0,
        tuple(sorted((bytes.fromhex(k), bytes.fromhex(v)) for k, v in member["Xattrs"].items())),
        member["Sha256"],
    )
