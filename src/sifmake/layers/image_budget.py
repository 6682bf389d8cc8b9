"""Bounds on what all layers of an image may take together: uncompressed bytes, and memory for their entries.

Each layer may be within its limits while ten of them together are not: a blob of a megabyte becomes a gigabyte, or the
names of a million files.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from sifmake.errors import LimitError
from sifmake.layers.entry import DIR, HARDLINK, OPAQUE, SYMLINK, Entry
from sifmake.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sifmake.limits import Limits

_ENTRY_BYTES: Final = [400] * (OPAQUE + 1)
_ENTRY_BYTES[DIR], _ENTRY_BYTES[SYMLINK], _ENTRY_BYTES[HARDLINK] = 700, 650, 650
_CONTENT_BYTES: Final = 150
_FREE_BYTES: Final = 384 * MIB
_BYTES_SHARE: Final = 4
"""Part of the uncompressed bytes beyond those that counts, too, because hashing and compressing them takes time."""
_ATTRIBUTE_BYTES: Final = 500
_TEXT_COPIES: Final = 2.5
"""Measured: memory of an entry by its kind, of what only some have, and how often names are held during the merge.

What takes more time than memory counts as the memory that others take in that time (40 bytes for a microsecond).
"""
_TOGETHER: Final = 256
"""Entries counted at a time."""
_LONG: Final = 400
"""Bytes of names and attributes of an entry that is counted at once."""
_SMALL: Final = 10_000_000
_LISTING_RATIO: Final = 100
"""An entry takes at least 20 bytes of a blob, so an image of 20 MB may have a million entries."""
_BLOCKS_RATIO: Final = 10
_SPARSE_MEMBERS: Final = 4
"""Members with as many regions as one may have."""
_FEW_PARTS: Final = 40
"""Parts of a name that are not counted before it is cleaned of ``.`` and ``..``."""


class ImageBudget:
    """Counts what the layers of one image take, while several threads pack them.

    Args:
        limits: ``inflate_ratio``, ``inflate_ratio_from``, ``layer_listing_bytes``, ``path_steps``, ``sparse_regions``
            and ``block_bytes`` apply.
        size: Compressed bytes of all layers, as far as they are known.
    """

    def __init__(self, limits: Limits, size: int = 0) -> None:
        self._limits = limits
        self._expected = size
        self._consumed: Callable[[], int] = int
        self._inflated = 0
        self._listing = 0
        self._steps = 0
        self._blocks = 0
        self._regions = 0
        self._lock = threading.Lock()

    def follow(self, consumed: Callable[[], int]) -> None:
        """Use the bytes read so far from the archive as the size of the layers; they grow while it is read."""
        self._consumed = consumed

    @property
    def _size(self) -> int:
        return self._expected + self._consumed()

    def inflating(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield uncompressed bytes of a layer.

        Raises:
            LimitError: The layers together inflate to more than their size makes likely.
        """
        for piece in pieces:
            self._count_inflated(len(piece))
            yield piece

    def listing(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield entries of a layer.

        Raises:
            LimitError: Those of all layers need more memory than the size of the layers makes likely.
        """
        size = 0
        for number, entry in enumerate(entries):
            texts = len(entry.path) + len(entry.target) * 3 // 2
            if entry.xattrs:
                texts += sum(len(name) + len(value) for name, value in entry.xattrs)
                size += _ATTRIBUTE_BYTES * len(entry.xattrs)
            size += _ENTRY_BYTES[entry.kind] + int(_TEXT_COPIES * texts)
            if entry.content >= 0:
                size += _CONTENT_BYTES
            if not number % _TOGETHER or texts > _LONG:
                self._count_listing(size)
                size = 0
            yield entry
        self._count_listing(size)

    def count_name(self, name: bytes) -> None:
        """Count the parts of a path or link target, before ``.`` and ``..`` are taken out of it.

        Raises:
            LimitError: Those of all layers are too many.
        """
        if len(name) <= 2 * _FEW_PARTS or (parts := name.count(b"/") - _FEW_PARTS) <= 0:
            return
        with self._lock:
            self._steps += parts
            if self._steps <= self._limits.path_steps:
                return
        raise too_many_steps()

    def count_regions(self, count: int) -> None:
        """Count the regions of a sparse member.

        Raises:
            LimitError: Those of all layers are too many.
        """
        if not count:
            return
        with self._lock:
            self._regions += count
            most = _SPARSE_MEMBERS * self._limits.sparse_regions
            if self._regions <= most:
                return
        what = f"the sparse files in the layers have more than {most} data regions (a limit)"
        raise LimitError(what, hint="raise sparse-regions (limits: in sifmake.yaml)")

    def count_blocks(self, size: int) -> None:
        """Count the bytes of compressed blocks: the time for compressing follows what comes out of it.

        Raises:
            LimitError: The layers together give more than their size makes likely.
        """
        with self._lock:
            self._blocks += size
            most = self._limits.block_bytes + _BLOCKS_RATIO * max(0, self._size - _SMALL)
            if self._blocks <= most:
                return
        what = (
            f"the files in the layers ({self._size} bytes) take more than {most} bytes as compressed blocks (a limit)"
        )
        raise LimitError(what, hint="if you trust the image, raise block-bytes (limits: in sifmake.yaml)")

    def _count_inflated(self, size: int) -> None:
        limits = self._limits
        with self._lock:
            self._inflated += size
            if self._inflated <= max(limits.inflate_ratio_from, limits.inflate_ratio * self._size):
                self._check_listing()
                return
        raise LimitError(
            f"the layers ({self._size} bytes) inflate to more than {limits.inflate_ratio} times as many (a limit)",
            hint="if you trust the image, raise inflate-ratio and inflate-ratio-from (limits: in sifmake.yaml)",
        )

    def _count_listing(self, size: int) -> None:
        with self._lock:
            self._listing += size
            self._check_listing()

    def _check_listing(self) -> None:
        most = _most_listing(self._size, self._limits)
        if self._listing + max(0, self._inflated - _FREE_BYTES) // _BYTES_SHARE > most:
            what = (
                f"the names and bytes of the files in the layers count for more than {most} bytes of memory (a limit)"
            )
            raise LimitError(what, hint="raise layer-listing-bytes (limits: in sifmake.yaml)")


def too_many_steps() -> LimitError:
    """Return the error for paths that pass through too many folders and links."""
    what = "the paths pass through more folders and links than any image needs (a limit)"
    return LimitError(what, hint="raise path-steps (limits: in sifmake.yaml)")


def check_index_size(index_size: int, size: int, limits: Limits) -> None:
    """Check that the index of a pack can be one of entries that the budget allows, before it is decoded.

    Args:
        index_size: Bytes of the index; an entry takes at most a quarter of the memory that it counts for.
        size: Bytes of the pack.
        limits: ``layer_listing_bytes`` applies.

    Raises:
        LimitError: It is larger.
    """
    if index_size > (most := _most_listing(size, limits) // _TEXT_COPIES):
        what = f"the index of the layer pack has {index_size} bytes, more than {most} (a limit)"
        raise LimitError(what, hint="raise layer-listing-bytes (limits: in sifmake.yaml)")


def _most_listing(size: int, limits: Limits) -> int:
    """Return the most memory for the entries of layers of some compressed size."""
    return limits.layer_listing_bytes + _LISTING_RATIO * max(0, size - _SMALL)
