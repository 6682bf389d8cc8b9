"""Small layers for tests: entries to a tar stream, a tar stream to an open pack, packs to a listing."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import TYPE_CHECKING, Any

from sifmake.flatten.flattened import Flattened, flatten
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import Codec, make_codec
from sifmake.layers.entry import BLOCK, CHAR, DIR, FIFO, FILE, SYMLINK
from sifmake.layers.pack_reader import Pack, open_pack
from sifmake.layers.pack_writer import write_pack
from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.oci.model import Descriptor, Layer
from sifmake.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack
    from pathlib import Path

MTIME = 1_600_000_000
LETTERS = {DIR: "d", FILE: "f", SYMLINK: "l", CHAR: "c", BLOCK: "b", FIFO: "p"}

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: Any) -> Entry:
    """Return one tar entry; fields are TarInfo's (``mode``, ``uid``, ``linkname``, ``pax_headers``, ...)."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(data), MTIME
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def file(name: str, data: bytes = b"", **fields: Any) -> Entry:
    return entry(name, data=data, **fields)


def folder(name: str, **fields: Any) -> Entry:
    return entry(name, tarfile.DIRTYPE, **fields)


def symlink(name: str, target: str, **fields: Any) -> Entry:
    return entry(name, tarfile.SYMTYPE, linkname=target, **{"mode": 0o777, **fields})


def hardlink(name: str, target: str, **fields: Any) -> Entry:
    return entry(name, tarfile.LNKTYPE, linkname=target, **fields)


def tar(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return the tar stream of a layer."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def layer_of(blob: bytes, raw: bytes) -> Layer:
    """Return the descriptor and DiffID of a blob and its uncompressed bytes."""
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    return Layer(Descriptor("application/vnd.oci.image.layer.v1.tar", digest, len(blob)), diff_id_of(raw))


def diff_id_of(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def make_pack(
    path: Path, raw: bytes, *, blob: bytes | None = None, codec: Codec | None = None, limits: Limits = DEFAULT_LIMITS
) -> Pack:
    """Write the pack of a tar stream and open it."""
    blob = raw if blob is None else blob
    with Workers(2) as workers, path.open("wb") as out:
        task = Silent().task("layer")
        codec = codec or make_codec("gzip")
        write_pack(out, io.BytesIO(blob), layer_of(blob, raw), codec, workers, limits, task)
    return open_pack(path)


def flatten_layers(folder: Path, layers: Sequence[bytes], stack: ExitStack) -> tuple[Flattened, list[Pack]]:
    """Pack and flatten tar streams; the packs stay open as long as ``stack``."""
    packs = [stack.enter_context(make_pack(folder / f"{n}.pack", raw)) for n, raw in enumerate(layers)]
    return flatten(packs, epoch=0), packs


def listing(flattened: Flattened, packs: Sequence[Pack]) -> dict[str, str]:
    """Return path -> a short text for each inode: type, mode in octal, and content, target or device."""
    rows = {}
    for path, inode in flattened.tree.walk():
        text = f"{LETTERS[inode.kind]} {inode.mode:o}"
        if inode.kind == FILE:
            pack = packs[inode.layer]
            data = pack.read_content(pack.contents[inode.content], inode.size) if inode.content >= 0 else b""
            text += f" {data.decode(errors='surrogateescape')}"
        elif inode.kind == SYMLINK:
            text += f" {inode.target.decode()}"
        elif inode.kind in (CHAR, BLOCK):
            text += f" {inode.major}:{inode.minor}"
        rows[path.decode(errors="surrogateescape")] = text
    return rows
