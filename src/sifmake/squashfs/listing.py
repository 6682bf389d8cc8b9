"""Read an untrusted directory entry by entry, checking the order on which Linux relies when it looks up names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import SquashfsError
from sifmake.squashfs import format as fmt
from sifmake.squashfs.stored import Cursor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.squashfs.node import Node
    from sifmake.squashfs.stored import StoredImage


class DirectoryEntry(NamedTuple):
    """One name in a directory.

    Attributes:
        name: The name.
        reference: Where its inode is.
        number: The inode's number.
        kind: Its basic type.
    """

    name: bytes
    reference: int
    number: int
    kind: int


def read_entries(image: StoredImage, folder: Node) -> Iterator[DirectoryEntry]:
    """Yield the entries of a directory in ascending order of their names.

    Linux searches names by the directory's index and stops at the first greater one, so with a listing out of order, a
    duplicate name or a wrong index, Linux would see another file than a reader of the whole listing.

    Raises:
        SquashfsError: The listing or its index is damaged.
    """
    listing = folder.listing
    if not listing.size:
        return
    cursor = Cursor(image, image.head.directory_table + listing.block, listing.offset)
    index = _Index(image, folder)
    left, last = listing.size, b""
    while left > 0:
        cursor.settle()
        here = listing.size - left, cursor.place - image.head.directory_table
        count, start, base = cursor.take(fmt.DIRECTORY_HEADER)
        if count >= fmt.DIRECTORY_RUN:
            raise _damaged(folder)
        left -= fmt.DIRECTORY_HEADER.size
        for number in range(count + 1):
            offset, relative, kind, length = cursor.take(fmt.DIRECTORY_ENTRY)
            left -= fmt.DIRECTORY_ENTRY.size + length + 1
            if length >= fmt.MAX_NAME or left < 0:
                raise _damaged(folder)
            name = cursor.bytes(length + 1)
            # Not ``in``, for which Python first tries to take bytes for a number, and makes an exception for each name.
            if name <= last or name in _NOT_NAMES or name.find(b"/") >= 0 or name.find(b"\0") >= 0:
                raise SquashfsError(
                    f"the name {name!r} is out of order, a duplicate or not a valid name", where=folder.where
                )
            if not number:
                index.check(*here, name)
            yield DirectoryEntry(name, start << 16 | offset, base + relative, kind)
            last = name
    index.finish()


class _Index:
    """Compares the index of a directory with the headers of its listing."""

    def __init__(self, image: StoredImage, folder: Node) -> None:
        self._folder = folder
        self._left = folder.listing.jumps
        self._records = Cursor(image, *folder.listing.records) if self._left else None
        self._next = self._read()

    def _read(self) -> tuple[int, int, bytes] | None:
        if not self._left or self._records is None:
            return None
        self._left -= 1
        offset, start, length = self._records.take(fmt.DIRECTORY_INDEX)
        if length >= fmt.MAX_NAME:
            raise _damaged(self._folder)
        return offset, start, self._records.bytes(length + 1)

    def check(self, offset: int, start: int, name: bytes) -> None:
        """Compare a header's place and first name with the next record, if the record belongs to it."""
        if self._next and self._next[0] <= offset:
            if self._next != (offset, start, name):
                raise _damaged(self._folder)
            self._next = self._read()

    def finish(self) -> None:
        """Refuse records that extend beyond the listing."""
        if self._next:
            raise _damaged(self._folder)


def _damaged(folder: Node) -> SquashfsError:
    return SquashfsError("a directory is damaged", where=folder.where)


_NOT_NAMES = frozenset({b"", b".", b".."})
