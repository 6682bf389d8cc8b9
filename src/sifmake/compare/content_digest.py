"""One digest of the content of an image, which does not depend on when, where and how the file was made."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sifmake.compare.contents import open_reader
from sifmake.limits import DEFAULT_LIMITS
from sifmake.squashfs.format import NONE_32
from sifmake.squashfs.reader import FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sifmake.limits import Limits
    from sifmake.squashfs.reader import Node, SquashfsReader

_FORMAT = b"sifmake content 1\n"
"""First line of the listing. Raise the number if the same content would give a different listing."""
_TELLS_OF_THE_BUILD = frozenset({b".singularity.d/labels.json", b".singularity.d/Singularity"})
"""Files that say when, from what and by which program the image was made."""


def content_digest(path: Path, limits: Limits = DEFAULT_LIMITS) -> str:
    """Return ``sha256:`` and the digest of a listing of a SIF file's root file system.

    It covers names, types, modes, owners, bytes of files, link targets, device numbers, hard links and extended
    attributes. It does not cover times, the order and compression of blocks, signatures, labels and other objects.

    Args:
        path: The SIF file.
        limits: Bounds on the cost of reading.

    Raises:
        SifError: It is not a SIF file, or its root file system is not a squashfs.
        SquashfsError: The squashfs is damaged, has an unsupported compression, or exceeds a limit.
    """
    total = hashlib.sha256(_FORMAT)
    with open_reader(path, limits) as reader:
        first: dict[int, bytes] = {}
        for node in reader.walk():
            if node.path in _TELLS_OF_THE_BUILD:
                continue
            link = first.setdefault(node.reference, node.path)
            row = (b"link", node.path, link) if link != node.path else _row(reader, node)
            total.update(_framed(row))
    return f"sha256:{total.hexdigest()}"


def _row(reader: SquashfsReader, node: Node) -> Iterator[bytes]:
    yield b"%d %o %d %d %d" % (node.kind, node.mode, node.uid, node.gid, node.device)
    yield node.path
    yield node.target
    if node.kind == FILE:
        yield reader.digest(node)
    if node.xattrs != NONE_32:
        for name, value in sorted(reader.read_xattrs(node).items()):
            yield name
            yield value


def _framed(fields: Iterable[bytes]) -> bytes:
    """Encode fields so that different lists of fields give different bytes."""
    parts = [b"%d:%b," % (len(field), field) for field in fields]
    return b"%d[%b]" % (len(parts), b"".join(parts))
