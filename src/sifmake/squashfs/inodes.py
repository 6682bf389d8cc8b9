"""The inode table: basic inodes where they are sufficient, else extended ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import SquashfsError
from sifmake.layers.entry import BLOCK, CHAR, DIR, FIFO, FILE, SOCKET, SYMLINK
from sifmake.squashfs import format as fmt
from sifmake.squashfs.format import MAX_32
from sifmake.squashfs.metadata import MetadataStream
from sifmake.squashfs.xattrs import XattrTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sifmake.layers.entry import Inode
    from sifmake.squashfs.directories import WrittenListing


class Placement(NamedTuple):
    """Where the image keeps the bytes of one file.

    Attributes:
        start: Offset of the first full block from the start of the squashfs.
        blocks: One little-endian 32-bit word per full block: stored size, bit 24 set when not compressed, zero for
            a block of zeros.
        fragment: Number of the fragment block that holds the tail, -1 when there is no tail.
        offset: Offset of the tail in the uncompressed fragment block.
        sparse: Bytes in blocks of zeros.
    """

    start: int
    blocks: bytes
    fragment: int
    offset: int
    sparse: int


PlacementFields = tuple[int, bytes, int, int, int]
"""The fields of :class:`Placement`, or one; a plain tuple is made in a fifth of the time."""
_NOWHERE = Placement(0, b"", -1, 0, 0)
"""The placement of an empty file."""


_PACK_FILE = fmt.FILE.pack


class InodeTable:
    """Writes inodes one by one; everything that an inode refers to must have been placed before."""

    def __init__(
        self,
        compress: Callable[[bytes], bytes],
        place: Callable[[Inode], PlacementFields],
        ids: Sequence[int],
        fragments: int,
        block_size: int,
        path_of: Callable[[Inode], str],
    ) -> None:
        self.stream = MetadataStream(compress)
        self.xattrs = XattrTable(compress)
        self.listings: dict[int, tuple[WrittenListing, int]] = {}
        """Listings of directories whose inodes are not written yet, with the parents' numbers, by inode number."""
        self._append = self.stream.append
        self._place = place
        self._ids = {number: index for index, number in enumerate(ids)}
        self._fragments = fragments
        self._block_size = block_size
        self._path_of = path_of
        self.writers: dict[int, Callable[[Inode, int], int]] = {
            DIR: self._directory,
            FILE: self._file,
            SYMLINK: self._symlink,
            BLOCK: self._device,
            CHAR: self._device,
            FIFO: self._ipc,
            SOCKET: self._ipc,
        }
        """For each kind, the function that appends the inode with a number and returns its reference.

        Raises:
            SquashfsError: The placement is wrong.
        """

    def _file(self, inode: Inode, number: int) -> int:
        size = inode.size
        start, blocks, fragment, offset, sparse = self._place(inode) if inode.content >= 0 else _NOWHERE
        if len(blocks) != 4 * (size // self._block_size if fragment >= 0 else -(-size // self._block_size)):
            raise self._misfit(inode)
        if fragment < 0:
            fragment = fmt.NONE_32
        elif fragment >= self._fragments:
            raise self._misfit(inode)
        if inode.links > 1 or sparse or inode.xattrs or start | size > MAX_32:
            fixed = fmt.EXTENDED_FILE.pack(
                *self._common(inode, number, fmt.EXTENDED),
                *(start, size, sparse, inode.links, fragment, offset, self._xattrs(inode)),
            )
            return self._append(fixed + blocks)
        # By far the most frequent inode, so the work of _common is repeated here to save the call.
        ids, mtime = self._ids, inode.mtime
        if not 0 <= mtime <= MAX_32:
            mtime = fmt.clamp_time(mtime)
        owner, group = ids[inode.uid], ids[inode.gid]
        fixed = _PACK_FILE(FILE, inode.mode & 0xFFF, owner, group, mtime, number, start, fragment, offset, size)
        return self._append(fixed + blocks)

    def _misfit(self, inode: Inode) -> SquashfsError:
        what = f"the stored blocks do not make up the file's {inode.size} bytes"
        return SquashfsError(what, where=self._path_of(inode), hint="run `sifmake cache verify`")

    def _directory(self, inode: Inode, number: int) -> int:
        listing, parent = self.listings.pop(number)
        size = listing.size + fmt.DIRECTORY_EXTRA
        xattrs = self._xattrs(inode)
        if size <= fmt.MAX_BASIC_DIRECTORY and not listing.jumps and xattrs == fmt.NONE_32:
            common = self._common(inode, number)
            return self._append(fmt.DIRECTORY.pack(*common, listing.start, inode.links, size, listing.offset, parent))
        if size > fmt.MAX_32:
            raise SquashfsError("a directory's listing exceeds 4 GiB", where=self._path_of(inode))
        fixed = fmt.EXTENDED_DIRECTORY.pack(
            *self._common(inode, number, fmt.EXTENDED),
            *(inode.links, size, listing.start, parent, listing.jumps, listing.offset, xattrs),
        )
        return self._append(fixed + listing.jump_records)

    def _symlink(self, inode: Inode, number: int) -> int:
        target, xattrs = inode.target, self._xattrs(inode)
        if xattrs == fmt.NONE_32:
            common = self._common(inode, number)
            return self._append(fmt.SYMLINK.pack(*common, inode.links, len(target)) + target)
        fixed = fmt.SYMLINK.pack(*self._common(inode, number, fmt.EXTENDED), inode.links, len(target))
        return self._append(fixed + target + fmt.XATTR_INDEX.pack(xattrs))

    def _device(self, inode: Inode, number: int) -> int:
        device, xattrs = fmt.encode_device(inode.major, inode.minor), self._xattrs(inode)
        if xattrs == fmt.NONE_32:
            return self._append(fmt.DEVICE.pack(*self._common(inode, number), inode.links, device))
        common = self._common(inode, number, fmt.EXTENDED)
        return self._append(fmt.EXTENDED_DEVICE.pack(*common, inode.links, device, xattrs))

    def _ipc(self, inode: Inode, number: int) -> int:
        xattrs = self._xattrs(inode)
        if xattrs == fmt.NONE_32:
            return self._append(fmt.IPC.pack(*self._common(inode, number), inode.links))
        return self._append(fmt.EXTENDED_IPC.pack(*self._common(inode, number, fmt.EXTENDED), inode.links, xattrs))

    def _common(self, inode: Inode, number: int, extended: int = 0) -> tuple[int, int, int, int, int, int]:
        return (
            inode.kind + extended,
            inode.mode & 0xFFF,
            self._ids[inode.uid],
            self._ids[inode.gid],
            fmt.clamp_time(inode.mtime),
            number,
        )

    def _xattrs(self, inode: Inode) -> int:
        return self.xattrs.number(inode.xattrs) if inode.xattrs else fmt.NONE_32
