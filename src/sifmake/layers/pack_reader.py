"""Open layer packs, and check them before their bytes go into an image."""

from __future__ import annotations

import os
import stat
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec
from isal.isal_zlib import crc32

from sifmake.errors import PackDamagedError
from sifmake.layers.codec import BLOCK_SIZE, Codec
from sifmake.layers.contents import Contents
from sifmake.layers.decoding import decode
from sifmake.layers.entry import Content, Entry, Inode
from sifmake.layers.pack_checks import check_contents, check_entries, check_fragments, stored_size
from sifmake.layers.pack_format import FOOTER, FRAGMENT, LARGEST_INDEX, Footer, Meta
from sifmake.oci.digest import is_digest
from sifmake.os_errors import naming
from sifmake.ranges import read_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_READ_SIZE = 1 << 20
_RESIDUE_PIECE = 64 << 10


class _Part(NamedTuple):
    """Where a part of the index is, and its CRC-32 at the time the pack was opened."""

    start: int
    size: int
    crc: int


class Pack(msgspec.Struct, frozen=True, dict=True):
    """An open layer pack. Index parts are read and decoded on demand, because an image may have 500 packs.

    Attributes:
        path: The file.
        fd: Open for reading; belongs to the pack.
        footer: Sizes and checksums.
        meta: What the pack says of itself.
    """

    path: Path
    fd: int
    footer: Footer
    meta: Meta
    _index: dict[str, _Part]

    def entries(self) -> list[Inode]:
        """Return all entries in tar order, as new objects at each call.

        Raises:
            PackDamagedError: They cannot be decoded or do not match the contents; the other parts raise it too.
        """
        contents = self.contents  # first, because decoding them briefly takes much memory
        entries: list[Inode] = self._decoded("entries", list[Inode])
        self._checked(check_entries, entries, contents)
        return entries

    def stored_entries(self) -> list[Entry]:
        """Return all entries in tar order as stored in the index."""
        contents = self.contents
        entries: list[Entry] = self._decoded("entries", list[Entry])
        self._checked(check_entries, entries, contents)
        return entries

    @cached_property
    def contents(self) -> Contents:
        """Where the bytes of each distinct file are."""
        contents: list[Content] = self._decoded("contents", list[Content])
        self._checked(check_contents, contents, self.fragments, self.footer.data_size)
        return Contents(contents)

    @cached_property
    def fragments(self) -> list[tuple[int, int, int]]:
        """Start, squashfs block word and uncompressed size of each fragment block."""
        fragments = list(FRAGMENT.iter_unpack(self.raw_part("fragments")))
        self._checked(check_fragments, fragments, self.footer.data_size)
        return fragments

    def _decoded(self, part: str, kind: Any) -> Any:
        return decode(self.raw_part(part), kind, "index of the layer pack", str(self.path))

    def raw_part(self, name: str) -> bytes:
        """Return the bytes of ``entries``, ``contents``, ``fragments`` or ``meta``, as they are in the file.

        Raises:
            PackDamagedError: They changed since the pack was opened.
        """
        return _read_part(self.path, self.fd, self._index[name])

    def _checked(self, check: Callable[..., None], *parts: object) -> None:
        try:
            check(*parts)
        except PackDamagedError as error:
            raise error.within(str(self.path)) from None

    @property
    def key(self) -> str:
        """The key that the pack says it belongs to; see :func:`~sifmake.layers.pack_format.pack_key`."""
        return self.meta.key(self.footer.version)

    @property
    def has_residue(self) -> bool:
        """Whether the layer's tar stream can be rebuilt from the pack."""
        return self.footer.residue_size > 0

    def has_dead_blocks(self) -> bool:
        """Tell whether the data has blocks that nothing refers to, as those of a second equal file in format 1.

        Raises:
            PackDamagedError: The index is damaged.
        """
        used = sum(content.stored for content in self.contents.large.values())
        return used + sum(stored_size(word) for _, word, _ in self.fragments) != self.footer.data_size

    def residue(self) -> Iterator[bytes]:
        """Yield the compressed residue in pieces.

        Raises:
            PackDamagedError: Its checksum is wrong; this comes after the last piece.
        """
        footer = self.footer
        at = footer.data_size + footer.index_size
        end, crc = at + footer.residue_size, 0
        while at < end:
            piece = self.read(at, min(_RESIDUE_PIECE, end - at))
            crc = crc32(piece, crc)
            at += len(piece)
            yield piece
        if crc != footer.residue_crc:
            raise PackDamagedError("residue of the layer pack is damaged", where=str(self.path))

    @property
    def codec(self) -> Codec:
        """The codec of the pack's blocks."""
        return Codec(self.meta.codec, self.meta.level)

    def read(self, start: int, size: int) -> bytes:
        """Return bytes of the file.

        Raises:
            PackDamagedError: The file is too short.
        """
        data = read_at(self.fd, size, start)
        if len(data) < size:
            raise PackDamagedError("layer pack is truncated", where=str(self.path))
        return data

    def blocks_of(self, content: Content) -> Iterator[bytes | bytearray]:
        """Yield the uncompressed full blocks of a file's content; the tail is in a fragment block."""
        at = content.start
        for word in memoryview(content.blocks).cast("I"):
            stored = word & 0xFFFFFF
            yield self._block(at, word, BLOCK_SIZE) if stored else bytes(BLOCK_SIZE)
            at += stored

    def read_content(self, content: Content, limit: int) -> bytes:
        """Return up to the first ``limit`` bytes of a file's content."""
        out = bytearray()
        for block in self.blocks_of(content):
            out += block
            if len(out) >= limit:
                break
        if len(out) < limit and content.fragment >= 0:
            tail = content.size % BLOCK_SIZE
            out += self.read_fragment(content.fragment)[content.offset : content.offset + tail]
        return bytes(out[:limit])

    def read_fragment(self, number: int) -> bytes | bytearray:
        """Return the uncompressed bytes of a fragment block."""
        return self._block(*self.fragments[number])

    def _block(self, start: int, word: int, size: int) -> bytes | bytearray:
        data = self.read(start, word & 0xFFFFFF)
        try:
            return data if word >> 24 else self.codec.inflate(data, size)
        except PackDamagedError as error:
            raise error.within(str(self.path)) from None

    def check_data(self) -> None:
        """Compare the data region with its checksum.

        Raises:
            PackDamagedError: They differ.
        """
        if _crc_of(self.path, self.fd, 0, self.footer.data_size) != self.footer.data_crc:
            raise PackDamagedError(
                "layer pack is damaged", where=str(self.path), hint="run the command again to rebuild it"
            )

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_pack(path: Path, key: str | None = None) -> Pack:
    """Open a pack and check its footer, its index and that it is the requested pack.

    Args:
        path: The file.
        key: The requested key, because the file's name in a store proves nothing about its content. None only if the
            caller compares :attr:`Meta.key` itself.

    Raises:
        PackDamagedError: The file is not a complete pack of a known format, or is the pack of another layer.
        OSError: It cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return load_pack(path, fd, key)


def load_pack(path: Path, fd: int, key: str | None) -> Pack:
    """Open a pack like :func:`open_pack`, from an open file; the pack owns the descriptor, even after an error.

    Raises:
        PackDamagedError: As :func:`open_pack`.
    """
    try:
        pack = _load(path, fd)
        _demand_key(pack, key)
    except BaseException:
        os.close(fd)
        raise
    return pack


def _demand_key(pack: Pack, key: str | None) -> None:
    """Refuse the pack of another layer, codec, level or encoder, whatever name it has."""
    meta = pack.meta
    if not is_digest(meta.diff_id) or meta.block_size != BLOCK_SIZE or key not in (None, pack.key):
        raise PackDamagedError("this is the pack of another layer", where=str(pack.path))


def _load(path: Path, fd: int) -> Pack:
    status = os.fstat(fd)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    end = min(size, FOOTER.size)
    footer = Footer.decode(read_at(fd, end, size - end)) if end else None
    if footer is None or footer.file_size != size:
        raise PackDamagedError("not a complete layer pack", where=str(path))
    if footer.index_size > LARGEST_INDEX:
        raise PackDamagedError(f"layer pack with an index of more than {LARGEST_INDEX} bytes", where=str(path))
    index, at, whole = {}, footer.data_size, 0
    for name in ("entries", "contents", "fragments", "meta"):
        length: int = getattr(footer, f"{name}_size")
        whole = _crc_of(path, fd, at, length, whole)
        index[name] = _Part(at, length, _crc_of(path, fd, at, length))
        at += length
    if whole != footer.index_crc or footer.fragments_size % FRAGMENT.size:
        raise _damaged_index(path)
    meta: Meta = decode(_read_part(path, fd, index["meta"]), Meta, "index of the layer pack", str(path))
    return Pack(path, fd, footer, meta, index)


def _crc_of(path: Path, fd: int, start: int, size: int, before: int = 0) -> int:
    """Return the CRC-32 of bytes of a file, continued from the bytes before them; -1 if the file ends too early."""
    # A piece at a time, because the C library keeps as much memory for a thread as the thread reads at once.
    buffer = memoryview(bytearray(min(size, _READ_SIZE)))
    crc, end = before, start + size
    with naming(path):
        while start < end and (got := os.preadv(fd, [buffer[: end - start]], start)):
            crc = crc32(buffer[:got], crc)
            start += got
    return crc if start == end else -1


def _read_part(path: Path, fd: int, part: _Part) -> bytes:
    raw = read_at(fd, part.size, part.start)
    if len(raw) != part.size or crc32(raw) != part.crc:
        raise _damaged_index(path)
    return raw


def _damaged_index(path: Path) -> PackDamagedError:
    return PackDamagedError("index of the layer pack is damaged", where=str(path))
