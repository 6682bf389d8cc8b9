"""Read a layer's tar stream, entry by entry, in bounded memory.

Go's archive/tar decides what a stream means, because every other tool that unpacks images uses it. Where Go would
silently ignore damage, this reader raises an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sifmake.errors import LayerError
from sifmake.layers import pax
from sifmake.layers.pax import printable
from sifmake.layers.sparse import Region, SparseMap, check_map, expand, old_gnu_map, pax_map
from sifmake.layers.tarblocks import BLOCK, Blocks
from sifmake.layers.tarheader import (
    BLOCK_DEVICE,
    CHAR,
    CONTIGUOUS,
    DIRECTORY,
    FIFO,
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    GNU_SPARSE,
    HARD_LINK,
    NO_DATA,
    OLD_REGULAR,
    PAX_GLOBAL,
    PAX_LOCAL,
    REGULAR,
    SYMLINK,
    TarHeader,
    parse_header,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sifmake.layers.residue import ResidueWriter
    from sifmake.limits import Limits

_ZERO_BLOCK = bytes(BLOCK)
_RECORDS_OF_AN_ENTRY = 8
_LAST_ID = (1 << 32) - 2
_LAST_DEVICE = (1 << 32) - 1
_REGULAR_TYPES = frozenset((REGULAR, OLD_REGULAR, CONTIGUOUS, GNU_SPARSE))
_KNOWN_TYPES = _REGULAR_TYPES | NO_DATA
_META_TYPES = frozenset((PAX_LOCAL, GNU_LONG_NAME, GNU_LONG_LINK))

__all__ = ["BLOCK_DEVICE", "CHAR", "DIRECTORY", "FIFO", "HARD_LINK", "REGULAR", "SYMLINK", "LayerMember", "TarReader"]


class LayerMember(msgspec.Struct, gc=False):
    """One entry of a tar stream, extended headers applied.

    Attributes:
        name: Its name in the stream; may be empty, absolute or end with a slash.
        type: One of `REGULAR`, `HARD_LINK`, `SYMLINK`, `CHAR`, `BLOCK_DEVICE`, `DIRECTORY`, `FIFO`.
        mode: Permission bits with setuid, setgid and sticky, 12 bits.
        uid: Numeric owner, 0 to 2**32 - 2.
        gid: Numeric group, 0 to 2**32 - 2.
        size: Logical size of a regular file in bytes, holes included; 0 for anything else.
        mtime: Seconds since 1970, rounded down; may be negative or huge.
        linkname: Target of a symlink or hard link, unchanged.
        devmajor: Of a device node.
        devminor: Of a device node.
        xattrs: Names with prefix and values, sorted by name.
    """

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    linkname: bytes = b""
    devmajor: int = 0
    devminor: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


class _Extended:
    """The values of the extended headers before an entry."""

    __slots__ = ("link", "name", "records")

    def __init__(self) -> None:
        self.name = b""
        self.link = b""
        self.records: dict[bytes, bytes] = {}


class TarReader:
    """Iterates over the members of a tar stream; `data` and `take_all` read the current one.

    Args:
        chunks: The uncompressed stream. It is read to its end, beyond the tar's end marker.
        limits: ``file_bytes``, ``layer_entries``, ``pax_bytes``, ``pax_records``, ``name_bytes``,
            ``sparse_regions`` and ``xattr_bytes`` apply.
        residue: Receives everything of the stream that :meth:`data` and :meth:`take_all` did not return.

    Raises:
        LayerError: While iterating or reading data: the stream is malformed, truncated or beyond a limit. ``where``
            names the entry.
    """

    def __init__(self, chunks: Iterator[bytes], limits: Limits, residue: ResidueWriter | None = None) -> None:
        self._blocks = Blocks(chunks, residue.add_literal if residue else None)
        self._residue = residue
        self._regions: Sequence[Region] | None = None
        self._limits = limits
        self._left = 0
        self._padding = 0
        self._sparse: SparseMap | None = None
        self._name = b""
        self._inside = False
        self._count = 0
        self._records = 0
        self._data_offset = -1

    def __iter__(self) -> Iterator[LayerMember]:
        try:
            while member := self._next():
                yield member
            self._blocks.drain()
        except LayerError as error:
            self._place(error)
            raise

    def data(self) -> Iterator[memoryview]:
        """Yield the logical content of the current regular member; holes come as zeros.

        It can be read once, before the next member is read. Data that are not read are skipped.
        """
        sparse, self._sparse = self._sparse, None
        self._begin_content(sparse)
        try:
            yield from expand(sparse, self._pieces) if sparse else self._pieces(self._left)
        except LayerError as error:
            self._place(error)
            raise
        self._blocks.end_content()

    def take_all(self) -> bytes:
        """Return the whole content of the current member at once, for small members."""
        if self._sparse:
            return b"".join(self.data())
        size, self._left = self._left, 0
        self._begin_content(None)
        try:
            data = self._blocks.take(size)
        except LayerError as error:
            self._place(error)
            raise
        self._blocks.end_content()
        return data

    def refer(self, content: int) -> None:
        """Let the residue say that what was just read is a content of the pack."""
        if self._residue:
            self._residue.refer(content, self._regions)

    @property
    def regions(self) -> int:
        """How many data regions the current member has, if it is sparse."""
        return len(self._sparse.regions) if self._sparse else 0

    @property
    def data_offset(self) -> int:
        """Where in the stream the content begins that was read last; -1 if it was sparse, so that it is in pieces."""
        return self._data_offset

    def _begin_content(self, sparse: SparseMap | None) -> None:
        self._regions = sparse.regions if sparse else None
        self._data_offset = -1 if sparse else self._blocks.offset
        self._blocks.begin_content()

    def _place(self, error: LayerError) -> None:
        if not error.where:
            error.where = f"tar byte {self._blocks.offset}"
            if self._name:
                error.where = f"{'' if self._inside else 'after '}{printable(self._name)} ({error.where})"

    def _pieces(self, size: int) -> Iterator[memoryview]:
        for piece in self._blocks.pieces(size):
            self._left -= len(piece)
            yield piece

    def _next(self) -> LayerMember | None:
        """Read headers up to the next entry; None at the end."""
        extended: _Extended | None = None
        while True:
            self._finish_entry()
            self._inside = False
            block = self._next_block()
            if not block:
                if extended:
                    raise LayerError("the tar stream ends after an extended header, whose entry is missing")
                return None
            header = parse_header(block)
            self._name, self._inside = header.name, True
            if header.type == PAX_GLOBAL:
                self._pass_global(header, extended)
            elif header.type in _META_TYPES:
                extended = extended or _Extended()
                self._read_extended(header, extended)
            else:
                return self._member(header, block, extended)

    def _finish_entry(self) -> None:
        if self._left:
            self._blocks.skip(self._left)
            self._left = 0
        self._sparse = None
        if self._padding:
            self._blocks.skip_padding(self._padding)
            self._padding = 0

    def _next_block(self) -> bytes:
        """Return the next header block; nothing at the end, which is two blocks of zeros or the end of the stream."""
        block = self._blocks.block()
        if block != _ZERO_BLOCK:
            return block
        if self._blocks.block() not in (b"", _ZERO_BLOCK):
            raise LayerError("a block of zeros in the middle of the tar stream")
        return b""

    def _read_extended(self, header: TarHeader, extended: _Extended) -> None:
        data = self._meta_data(header)
        if header.type == PAX_LOCAL:
            extended.records = self._parse_records(data)
        elif header.type == GNU_LONG_NAME:
            extended.name = text(data)
        else:
            extended.link = text(data)

    def _pass_global(self, header: TarHeader, extended: _Extended | None) -> None:
        """Check a global header and ignore it, as all engines that unpack images do."""
        if extended:  # Go would forget the content of ``extended`` too
            raise LayerError("a global extended header between an extended header and its entry")
        self._parse_records(self._meta_data(header))

    def _parse_records(self, data: bytes) -> dict[bytes, bytes]:
        most = self._limits.pax_records + _RECORDS_OF_AN_ENTRY * self._count
        records, count = pax.parse_records(data, most - self._records)
        self._records += count
        return records

    def _meta_data(self, header: TarHeader) -> bytes:
        if not 0 <= header.size <= self._limits.pax_bytes:
            raise LayerError(
                f"an extended header has {header.size} bytes; {self._limits.pax_bytes} are allowed",
                hint="raise pax-bytes (limits: in sifmake.yaml)",
            )
        self._padding = -header.size % BLOCK
        return self._blocks.take(header.size)

    def _member(self, header: TarHeader, block: bytes, extended: _Extended | None) -> LayerMember:
        self._count += 1
        if self._count > self._limits.layer_entries:
            raise LayerError(
                f"more than {self._limits.layer_entries} entries in the layer",
                hint="raise layer-entries (limits: in sifmake.yaml)",
            )
        if extended:
            header = _merged(header, extended)
            self._name = header.name
        kind = header.type
        if kind not in _KNOWN_TYPES:
            raise LayerError(f"a tar entry of type {printable(kind)!r}, which image layers do not use")
        if kind == OLD_REGULAR and header.name.endswith(b"/"):
            kind = DIRECTORY
        name, size = self._open_data(header, kind, block, extended)
        is_device = kind in (CHAR, BLOCK_DEVICE)
        member = LayerMember(
            name,
            REGULAR if kind in _REGULAR_TYPES else kind,
            header.mode & 0o7777,
            header.uid,
            header.gid,
            size,
            header.mtime,
            header.linkname if kind in (SYMLINK, HARD_LINK) else b"",
            header.major if is_device else 0,
            header.minor if is_device else 0,
            pax.xattrs(extended.records, self._limits) if extended else (),
        )
        _check_member(member, self._limits)
        return member

    def _open_data(self, header: TarHeader, kind: bytes, block: bytes, extended: _Extended | None) -> tuple[bytes, int]:
        """Make the data section ready to be read; return the member's name and logical size."""
        stored = 0 if kind in NO_DATA else header.size
        if not 0 <= stored <= self._limits.file_bytes:
            raise LayerError(
                f"a file has {stored} bytes; {self._limits.file_bytes} are allowed",
                hint="raise file-bytes (limits: in sifmake.yaml)",
            )
        self._left = stored
        self._padding = -stored % BLOCK
        sparse = None
        if kind == GNU_SPARSE:
            sparse = old_gnu_map(block, self._blocks, self._limits)
        elif extended and extended.records:
            sparse = pax_map(extended.records, self._blocks, stored, self._limits)
        if sparse is None:
            return header.name, stored
        if kind in NO_DATA or not 0 <= sparse.size <= self._limits.file_bytes:
            raise LayerError(
                f"a sparse file has {sparse.size} bytes; {self._limits.file_bytes} are allowed",
                hint="raise file-bytes (limits: in sifmake.yaml)",
            )
        self._left = stored - sparse.map_bytes
        check_map(sparse, self._left)
        self._sparse = sparse
        return sparse.name or header.name, sparse.size


def _merged(header: TarHeader, extended: _Extended) -> TarHeader:
    """Apply extended headers to a header; GNU's long names win over PAX's, as in Go."""
    records: Mapping[bytes, bytes] = extended.records
    pax.seconds(records, b"atime")
    pax.seconds(records, b"ctime")
    uid, gid = pax.integer(records, b"uid"), pax.integer(records, b"gid")
    size, mtime = pax.integer(records, b"size"), pax.seconds(records, b"mtime")
    return TarHeader(
        extended.name or records.get(b"path") or header.name,
        header.mode,
        header.uid if uid is None else uid,
        header.gid if gid is None else gid,
        header.size if size is None else size,
        header.mtime if mtime is None else mtime,
        header.type,
        extended.link or records.get(b"linkpath") or header.linkname,
        header.major,
        header.minor,
    )


def _check_member(member: LayerMember, limits: Limits) -> None:
    if len(member.name) > limits.name_bytes or len(member.linkname) > limits.name_bytes:
        raise LayerError(
            f"a name or link target has more than {limits.name_bytes} bytes",
            hint="raise name-bytes (limits: in sifmake.yaml)",
        )
    if not 0 <= member.uid <= _LAST_ID or not 0 <= member.gid <= _LAST_ID:
        raise LayerError(f"owner {member.uid}:{member.gid} is not within 0 to {_LAST_ID}")
    if not 0 <= member.devmajor <= _LAST_DEVICE or not 0 <= member.devminor <= _LAST_DEVICE:
        raise LayerError(f"device number {member.devmajor}:{member.devminor} does not fit into 32 bits")
