"""Extended attributes of an untrusted image."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sifmake.errors import SquashfsError
from sifmake.squashfs import format as fmt
from sifmake.squashfs.stored import Cursor

if TYPE_CHECKING:
    from sifmake.squashfs.node import Node
    from sifmake.squashfs.stored import StoredImage


def read_set(image: StoredImage, node: Node) -> dict[bytes, bytes]:
    """Return the extended attributes of a node, by full name.

    Raises:
        SquashfsError: They are damaged, or beyond the limit ``xattr_bytes``.
    """
    table = image.head.xattr_table
    if node.xattrs == fmt.NONE_32 or table == fmt.NONE_64:
        return {}
    entries, total, _ = fmt.XATTR_HEADER.unpack(image.exactly(fmt.XATTR_HEADER.size, table))
    if node.xattrs >= total:
        raise SquashfsError("there is no such set of attributes", where=node.where)
    reference, count, _ = image.row(table + fmt.XATTR_HEADER.size, node.xattrs, fmt.XATTR_SET)
    cursor = _cursor(image, entries, reference)
    found: dict[bytes, bytes] = {}
    left = image.budget.limits.xattr_bytes
    for _ in range(count):
        name, value = _pair(image, cursor, entries, node)
        left -= len(name) + len(value)
        if left < 0:
            what = f"its extended attributes have more than {image.budget.limits.xattr_bytes} bytes (a limit)"
            raise SquashfsError(what, where=node.where, hint="raise limits.xattr-bytes in sifmake.yaml")
        if name in found:
            raise SquashfsError("an extended attribute occurs twice", where=node.where)
        found[name] = value
        image.budget.count_attribute(len(name) + len(value))
    return found


def _cursor(image: StoredImage, entries: int, reference: int) -> Cursor:
    return Cursor(image, entries + (reference >> 16), reference & 0xFFFF)


def _pair(image: StoredImage, cursor: Cursor, entries: int, node: Node) -> tuple[bytes, bytes]:
    kind, length = cursor.take(fmt.XATTR_ENTRY)
    prefix = _PREFIXES.get(kind & ~fmt.XATTR_OUT_OF_LINE)
    if prefix is None or not 0 < length <= fmt.MAX_XATTR_NAME:
        raise SquashfsError("an extended attribute has an unknown kind", where=node.where)
    name = cursor.bytes(length)
    (size,) = cursor.take(fmt.XATTR_SIZE)
    if kind & fmt.XATTR_OUT_OF_LINE:
        (reference,) = cursor.take(_REFERENCE)
        cursor = _cursor(image, entries, reference)
        (size,) = cursor.take(fmt.XATTR_SIZE)
    if size > fmt.MAX_XATTR_VALUE:
        what = f"an extended attribute has {size} bytes, Linux reads {fmt.MAX_XATTR_VALUE}"
        raise SquashfsError(what, where=node.where)
    return prefix + name, cursor.bytes(size)


_REFERENCE = struct.Struct("<Q")
_PREFIXES = {number: prefix for prefix, number in fmt.XATTR_PREFIXES.items()}
