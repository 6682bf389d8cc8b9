"""Read untrusted squashfs 4.0 images without mounting them: names, attributes and file contents."""

from __future__ import annotations

import hashlib
import struct
from functools import wraps
from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, TypeVar

from sifmake.errors import SquashfsError
from sifmake.limits import DEFAULT_LIMITS, MIB
from sifmake.squashfs import format as fmt
from sifmake.squashfs.listing import read_entries
from sifmake.squashfs.node import DIRECTORY, FILE, SYMLINK, Node, read_inode
from sifmake.squashfs.stored import Cursor, StoredImage
from sifmake.squashfs.stored_xattrs import read_set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sifmake.errors import SifmakeError
    from sifmake.limits import Limits

__all__ = ["DIRECTORY", "FILE", "SYMLINK", "Node", "SquashfsReader"]

_UNCOMPRESSED = 1 << 24
_SIZE = _UNCOMPRESSED - 1
_CACHED_FRAGMENT_BYTES = 16 * MIB
_WORDS = 1024
"""Block words of a file to read at a time."""

P = ParamSpec("P")
T = TypeVar("T")


def _named(method: Callable[Concatenate[SquashfsReader, P], T]) -> Callable[Concatenate[SquashfsReader, P], T]:
    """Make the errors of a method name the image, because two images are open during a comparison."""

    @wraps(method)
    def wrapper(reader: SquashfsReader, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(reader, *args, **kwargs)
        except SquashfsError as error:
            raise reader.at_fault(error) from None

    return wrapper


def _named_all(
    method: Callable[Concatenate[SquashfsReader, P], Iterator[T]],
) -> Callable[Concatenate[SquashfsReader, P], Iterator[T]]:
    """Do the same for a generator."""

    @wraps(method)
    def wrapper(reader: SquashfsReader, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        try:
            yield from method(reader, *args, **kwargs)
        except SquashfsError as error:
            raise reader.at_fault(error) from None

    return wrapper


class Block(NamedTuple):
    """A part of a regular file.

    Attributes:
        place: Where it is stored.
        word: Its stored size, bit 24 set when not compressed; 0 for a block of zeros.
        size: Number of the file's bytes in it.
        offset: Where they begin in the fragment block; None for a block that only this file has.
    """

    place: int
    word: int
    size: int
    offset: int | None = None


class SquashfsReader:
    """A squashfs image, read through a function.

    Attributes:
        block_size: Bytes of a full block.
    """

    def __init__(
        self, read_at: Callable[[int, int], bytes], limits: Limits = DEFAULT_LIMITS, *, name: str = ""
    ) -> None:
        """Read superblock and id table.

        Args:
            read_at: Returns as many bytes (first argument) from an offset (second), fewer at the end.
            limits: Bounds on what reading may cost.
            name: The image's name in the errors of later methods; errors of this one leave naming to the caller.

        Raises:
            SquashfsError: It is not a squashfs 4.0 with gzip or zstd blocks.
        """
        self._name = name
        self._image = StoredImage(read_at, limits)
        self.block_size = self._image.head.block_size
        self._ids = self._image.ids()
        self._hole = bytes(self.block_size)
        self._fragments: dict[tuple[int, int], bytes] = {}
        self._last_fragment = -1, b""

    def at_fault(self, error: SquashfsError) -> SifmakeError:
        """Return an error with the name of the image in front."""
        return error.within(self._name) if self._name else error

    @_named_all
    def walk(self) -> Iterator[Node]:
        """Yield everything in the image in ascending order of paths, so that parents come first.

        A hard link is another name of the same inode; two inodes with the same number are damage, because Linux would
        show one of them under both names.

        Raises:
            SquashfsError: The image is damaged, or its listing exceeds a limit.
        """
        numbers: dict[int, int] = {}
        root = read_inode(self._image, self._ids, b"", self._image.head.root)
        waiting: list[tuple[bytes, Node, Iterator[Node]]] = [(b"", root, iter(()))]
        while waiting:
            _, node, siblings = waiting[0]
            self._image.budget.count_name(node.path, node.target)
            if node.kind == DIRECTORY and node.number in numbers:
                raise SquashfsError("a directory has two names", where=node.where)
            known = numbers.setdefault(node.number, node.reference)
            if known != node.reference:
                raise SquashfsError(f"two inodes have the number {node.number}", where=node.where)
            yield node
            following = next(siblings, None)
            if following:
                heapreplace(waiting, (following.path, following, siblings))
            else:
                heappop(waiting)
            if node.kind == DIRECTORY:
                children = self._children(node)
                if first := next(children, None):
                    heappush(waiting, (first.path, first, children))

    def _children(self, folder: Node) -> Iterator[Node]:
        self._image.budget.open_folder()
        prefix = folder.path + b"/" if folder.path else b""
        for entry in read_entries(self._image, folder):
            node = read_inode(self._image, self._ids, prefix + entry.name, entry.reference)
            if (node.number, node.kind) != (entry.number, entry.kind):
                what = "its number or type in the directory differs from its inode"
                raise SquashfsError(what, where=node.where)
            yield node
        self._image.budget.close_folder()

    @_named_all
    def blocks(self, node: Node) -> Iterator[Block]:
        """Yield the blocks of a regular file, in order.

        Raises:
            SquashfsError: The image is damaged, or its files have more bytes than the limit allows.
        """
        self._image.budget.check_data(node.size)
        count, tail = divmod(node.size, self.block_size)
        if tail and node.fragment == fmt.NONE_32:
            count, tail = count + 1, 0
        place, left = node.start, node.size
        for word in self._words(node, count):
            self._count(min(left, self.block_size), word)
            yield Block(place, word, min(left, self.block_size))
            place, left = place + (word & _SIZE), left - self.block_size
        if tail:
            self._image.budget.count_data(tail)  # many files may share a fragment block
            start, word, _ = self._fragment(node)
            yield Block(start, word, tail, node.offset)

    @_named
    def content(self, block: Block) -> bytes:
        """Return the bytes of a block.

        Raises:
            SquashfsError: The image is damaged, or its files have more bytes than the limit allows.
        """
        if block.offset is not None:
            content = self._tails(block)[block.offset : block.offset + block.size]
        else:
            content = self._inflated(block, block.size) if block.word else self._hole[: block.size]
        if len(content) != block.size:
            raise SquashfsError("a block has fewer bytes than its file needs")
        return content

    @_named
    def stored(self, block: Block) -> tuple[int, bytes]:
        """Return how a block is stored: its codec and its stored bytes; no bytes for a hole.

        Raises:
            SquashfsError: The image is damaged, or its files have more bytes than the limit allows.
        """
        if block.offset is not None:
            self._image.budget.count_data(block.word & _SIZE)
        return self._stored(block)

    @_named
    def tail(self, node: Node) -> bytes:
        """Return the bytes of a regular file that is smaller than a block and in a fragment block.

        Raises:
            SquashfsError: The image is damaged, or its files have more bytes than the limit allows.
        """
        self._image.budget.count_data(node.size)
        number, content = self._last_fragment
        if number != node.fragment:
            start, word, _ = self._fragment(node)
            content = self._tails(Block(start, word, node.size, node.offset))
            self._last_fragment = node.fragment, content
        data = content[node.offset : node.offset + node.size]
        if len(data) != node.size:
            raise SquashfsError("a block has fewer bytes than its file needs")
        return data

    def chunks(self, node: Node) -> Iterator[bytes]:
        """Yield the bytes of a regular file, block by block; raises like :meth:`content`."""
        return map(self.content, self.blocks(node))

    def digest(self, node: Node) -> bytes:
        """Return the SHA-256 of a regular file's bytes; raises like :meth:`content`."""
        if node.size < self.block_size and node.fragment != fmt.NONE_32:
            return hashlib.sha256(self.tail(node)).digest()
        total = hashlib.sha256()
        for chunk in self.chunks(node):
            total.update(chunk)
        return total.digest()

    @_named
    def read_xattrs(self, node: Node) -> dict[bytes, bytes]:
        """Return the extended attributes of a node, by full name.

        Raises:
            SquashfsError: The image is damaged, or they exceed a limit.
        """
        return read_set(self._image, node)

    def _count(self, size: int, word: int) -> None:
        stored = word & _SIZE
        self._image.budget.count_block(size, stored, compressed=stored > 0 and not word & _UNCOMPRESSED)

    def _words(self, node: Node, count: int) -> Iterator[int]:
        cursor = Cursor(self._image, node.words >> 16, node.words & 0xFFFF) if count else None
        for start in range(0, count, _WORDS):
            some = min(_WORDS, count - start)
            yield from struct.unpack(f"<{some}I", cursor.bytes(4 * some) if cursor else b"")

    def _fragment(self, node: Node) -> tuple[int, ...]:
        head = self._image.head
        if node.fragment >= head.fragments:
            raise SquashfsError("there is no such fragment block", where=node.where)
        return self._image.row(head.fragment_table, node.fragment, fmt.FRAGMENT)

    def _tails(self, block: Block) -> bytes:
        """Return a fragment block; the last ones are cached, because neighbouring files have their tails in them."""
        found = self._fragments.pop((block.place, block.word), None)
        if found is None:
            self._count(self.block_size, block.word)
            found = self._inflated(block, self.block_size)
            if len(self._fragments) * self.block_size >= _CACHED_FRAGMENT_BYTES:
                del self._fragments[next(iter(self._fragments))]
        self._fragments[block.place, block.word] = found
        return found

    def _stored(self, block: Block) -> tuple[int, bytes]:
        size = block.word & _SIZE
        if block.word >= 2 * _UNCOMPRESSED or not bool(block.word) <= size <= self.block_size:
            raise SquashfsError("a block has an impossible size")
        codec = 0 if block.word & _UNCOMPRESSED else self._image.head.compression
        return codec, self._image.exactly(size, block.place)

    def _inflated(self, block: Block, largest: int) -> bytes:
        codec, data = self._stored(block)
        return self._image.inflate(data, largest) if codec else data
