"""Bounds on the cost of reading one image, in proportion to the image's size, counted while it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import SquashfsError
from sifmake.limits import KIB

if TYPE_CHECKING:
    from sifmake.limits import Limits

_NAME_COST = 150
"""Bytes counted for each name in addition to its path and target: about what a reader keeps for it."""
_SMALL = 10_000_000
_LISTING_RATIO = 64
"""Allowed bytes of the listing per byte of the image beyond a small one: an image of 15 MB may have a million names."""
_OPEN_FOLDER_COST = 20 * KIB
"""Bytes counted for a folder while the walk is in it: two metadata blocks and the state of its readers."""
_TABLE_RATIO = 4
"""Allowed bytes of inflated tables per byte of the image; real images need less than one."""
_BLOCK_COST = 32 * KIB
"""Least bytes counted for a block of a file: reading a small block takes as long as hashing this many bytes."""
_ATTRIBUTE_COST = 1 * KIB
"""The same for an extended attribute."""


class Budget:
    """Counts down what reading one image may still cost; every limit has its own message.

    Args:
        limits: ``image_*``, ``file_bytes`` and ``name_bytes`` apply.
        size: Bytes of the image.
    """

    def __init__(self, limits: Limits, size: int) -> None:
        self.limits = limits
        self._names = limits.image_entries
        self._listing = limits.image_listing_bytes + _LISTING_RATIO * max(0, size - _SMALL)
        self._tables = max(limits.image_table_bytes, _TABLE_RATIO * size)
        self._data = limits.image_bytes_from + limits.image_bytes_ratio * size

    def count_name(self, path: bytes, target: bytes) -> None:
        """Count one name of the listing.

        Raises:
            SquashfsError: The path is too long, or the listing has too many names or takes too much memory.
        """
        self._names -= 1
        self._listing -= _NAME_COST + len(path) + len(target)
        if self._names < 0:
            raise _limit(f"it has more than {self.limits.image_entries} names", "image-entries")
        if len(path) > self.limits.name_bytes:
            raise _limit(f"a path has {len(path)} bytes, {self.limits.name_bytes} are allowed", "name-bytes")
        self._check_listing()

    def open_folder(self) -> None:
        """Count a folder that the walk enters; SquashfsError if they are nested too deeply."""
        self._listing -= _OPEN_FOLDER_COST
        self._check_listing()

    def close_folder(self) -> None:
        """Stop counting what a folder took while it was open."""
        self._listing += _OPEN_FOLDER_COST

    def _check_listing(self) -> None:
        if self._listing < 0:
            what = "its listing takes more memory than allowed for an image of its size"
            raise _limit(what, "image-listing-bytes")

    def count_table(self, size: int) -> None:
        """Count bytes of a metadata block that was inflated; SquashfsError if there are too many."""
        self._tables -= size
        if self._tables < 0:
            what = "its tables have more bytes than allowed for an image of its size"
            raise _limit(what, "image-table-bytes")

    def check_data(self, size: int) -> None:
        """Refuse too many bytes before doing any work for them."""
        if size > self._data:
            ratio, base = self.limits.image_bytes_ratio, self.limits.image_bytes_from
            what = f"its files have more than {base} bytes in all, and more than {ratio} times the image's size"
            raise _limit(what, "image-bytes-ratio or limits.image-bytes-from")

    def count_data(self, size: int) -> None:
        """Count bytes of files, holes included; SquashfsError if there are too many."""
        self.check_data(size)
        self._data -= size

    def count_block(self, size: int, stored: int, *, compressed: bool) -> None:
        """Count a block by what reading it takes: twice its bytes if it is inflated, or its stored bytes.

        Raises:
            SquashfsError: The files have too many bytes.
        """
        self.count_data(max(size, stored, _BLOCK_COST) << compressed)

    def count_attribute(self, size: int) -> None:
        """Count an extended attribute of a file; SquashfsError if there are too many bytes."""
        self.count_data(max(size, _ATTRIBUTE_COST))

    def check_file(self, size: int) -> None:
        """Refuse a file beyond the limit for one file."""
        if size > self.limits.file_bytes:
            raise _limit(f"a file has {size} bytes, {self.limits.file_bytes} are allowed", "file-bytes")


def _limit(what: str, name: str) -> SquashfsError:
    return SquashfsError(f"{what} (a limit)", hint=f"raise limits.{name} in sifmake.yaml if you trust the image")
