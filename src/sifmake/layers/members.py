"""Turn the members of a layer's tar stream into entries of its pack: store contents, recognize markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sifmake.errors import LayerError
from sifmake.layers.array_part import ArrayPart
from sifmake.layers.codec import BLOCK_SIZE
from sifmake.layers.entry import BLOCK, CHAR, DIR, FIFO, FILE, HARDLINK, OPAQUE, SYMLINK, WHITEOUT, Entry
from sifmake.layers.pack_format import MOST_WARNINGS
from sifmake.layers.tar_paths import marker, normalise

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.layers.image_budget import ImageBudget
    from sifmake.layers.tar import LayerMember, TarReader
    from sifmake.limits import Limits

_KINDS = {b"0": FILE, b"1": HARDLINK, b"2": SYMLINK, b"3": CHAR, b"4": BLOCK, b"5": DIR, b"6": FIFO}
_MACHINES_OWN = frozenset((b"security.selinux", b"system.nfs4_acl"))
"""Extended attributes that have no meaning on another machine."""


class ContentSink(Protocol):
    """Takes the contents of files, each distinct one once."""

    def add_small(self, data: bytes) -> int:
        """Take the whole content of a file of 1 byte to less than a block; return its content's number."""

    def add_large(self, size: int, pieces: Iterable[memoryview]) -> int:
        """Take the content of a file of at least one block; return its content's number."""


def most_bytes(size: int, limits: Limits) -> int:
    """Return the most bytes that the files of a layer may have: holes of sparse files take time, but no bytes."""
    return min(limits.layer_bytes, max(limits.inflate_ratio_from, limits.inflate_ratio * size))


def store_members(
    tar: TarReader, blocks: ContentSink, most_bytes: int, budget: ImageBudget
) -> tuple[ArrayPart, list[str]]:
    """Store all members' contents; return their encoded entries, and warnings.

    Raises:
        LimitError: The entries take more memory than the budget allows.
    """
    odd: list[str] = []
    entries = ArrayPart(budget.listing(_entries_of(tar, blocks, most_bytes, odd, budget)))
    return entries, _shorten(odd)


def _entries_of(
    tar: TarReader, blocks: ContentSink, most_bytes: int, odd: list[str], budget: ImageBudget
) -> Iterator[Entry]:
    total = 0
    for member in tar:
        budget.count_name(member.name)
        path = normalise(member.name)
        if path.find(b".wh.") >= 0 and (hidden := _hidden(path, member, odd)) is not None:
            yield from hidden
            continue
        kind = _KINDS[member.type]
        entry = Entry(path, kind, member.mode, member.uid, member.gid, member.mtime)
        if kind == FILE:
            entry.size = size = member.size
            budget.count_regions(tar.regions)
            total += size
            if total > most_bytes:
                raise _too_many_bytes(path, most_bytes)
            if size:
                small = size < BLOCK_SIZE
                entry.content = blocks.add_small(tar.take_all()) if small else blocks.add_large(size, tar.data())
                tar.refer(entry.content)
        elif kind != DIR:
            budget.count_name(member.linkname)
            _point(entry, member)
        if member.xattrs:
            entry.xattrs = _keep_xattrs(path, member.xattrs, odd)
        yield entry


def _too_many_bytes(path: bytes, most_bytes: int) -> LayerError:
    return LayerError(
        f"files of more than {most_bytes} bytes in all, far more than the layer's blob can hold",
        where=ascii(path)[2:-1],
        hint="if you trust the image, raise inflate-ratio and layer-bytes (limits: in sifmake.yaml)",
    )


def _point(entry: Entry, member: LayerMember) -> None:
    """Return what a link or a device node points to."""
    if entry.kind == SYMLINK:
        entry.target = member.linkname
    elif entry.kind == HARDLINK:
        entry.target = normalise(member.linkname)
    elif entry.kind in (CHAR, BLOCK):
        entry.major, entry.minor = member.devmajor, member.devminor


def _hidden(path: bytes, member: LayerMember, odd: list[str]) -> list[Entry] | None:
    """Return the pack's entry for a path that contains ``.wh.``; None if the path is an ordinary one."""
    found = marker(path)
    if found is None:
        return None
    kind, hidden = found
    if kind in (WHITEOUT, OPAQUE):
        return [Entry(hidden, kind, 0, 0, 0, 0)]
    if kind == 0:
        _add_message(odd, f"ignored the malformed whiteout {ascii(path)[2:-1]}")
    # AUFS kept the first names of hard links in its own folder; they are needed to resolve the others.
    return None if kind < 0 and member.type == b"0" else []


def _keep_xattrs(
    path: bytes, xattrs: tuple[tuple[bytes, bytes], ...], odd: list[str]
) -> tuple[tuple[bytes, bytes], ...]:
    """Drop attributes that describe the machine where the layer was made, as umoci does."""
    kept = tuple(pair for pair in xattrs if pair[0] not in _MACHINES_OWN)
    for name, _ in xattrs:
        if name in _MACHINES_OWN:
            _add_message(odd, f"left out {name.decode()} of {ascii(path)[2:-1]}")
    return kept


def _add_message(messages: list[str], text: str) -> None:
    """Add a message; beyond the number of messages that are shown, only count it."""
    messages.append(text if len(messages) < MOST_WARNINGS else "")


def _shorten(messages: list[str]) -> list[str]:
    if len(messages) <= MOST_WARNINGS:
        return messages
    return [*messages[:MOST_WARNINGS], f"and {len(messages) - MOST_WARNINGS} more like these"]
