"""Find the bytes of a SIF file that no signature covers: header fields, gaps, unsigned objects and others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.ranges import read_at
from sifmake.sif.format import DataType
from sifmake.sif_table import DESCRIPTOR, HEADER
from sifmake.signing import cleartext, dsse
from sifmake.signing.metadata import MetadataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.sif import Descriptor, Sif

_SCAN_BYTES = 1 << 20
"""Bytes of a gap to search for nonzero bytes; a larger gap is reported without a search."""
_FIELDS = ((5, 9, "number"), (9, 13, "group"), (17, 25, "offset"), (33, 41, "padded size"), (49, 57, "time of change"))


@dataclass(frozen=True)
class Span:
    """A range of bytes that no signature covers.

    Attributes:
        start: First byte.
        end: Offset after the last byte.
        what: Description of the bytes.
        odd: Whether the user should know, because tools that write SIF files do not leave such bytes.
    """

    start: int
    end: int
    what: str
    odd: bool = False


def uncovered(sif: Sif, covered: Iterable[int], open_signatures: Iterable[int]) -> tuple[Span, ...]:
    """Return the spans that no good signature covers, by offset.

    Args:
        sif: The open file.
        covered: Numbers of the objects that good signatures cover.
        open_signatures: Numbers of signature objects that could not be checked completely.
    """
    whole, loose = set(covered), set(open_signatures)
    spans = [
        Span(45, 48, "header: architecture"),
        Span(64, HEADER.size, "header: times, counts and offsets"),
        *_table_spans(sif, whole),
        *(span for item in sif.objects if item.id not in whole for span in _data_spans(sif, item, loose)),
        *_gap_spans(sif),
    ]
    return tuple(sorted((span for span in spans if span.start < span.end), key=lambda span: span.start))


def _table_spans(sif: Sif, covered: set[int]) -> Iterator[Span]:
    """Yield the uncovered fields of the descriptor table."""
    used = {item.slot: item for item in sif.objects}
    for slot in range(sif.header.total):
        start = sif.header.table_offset + slot * DESCRIPTOR.size
        item = used.get(slot)
        if item is None:
            yield Span(start, start + DESCRIPTOR.size, "free descriptor", odd=slot in sif.leftovers)
        elif item.id in covered:
            for first, end, name in _FIELDS:
                yield Span(start + first, start + end, f"descriptor of object {item.id}: {name}")
        else:
            yield Span(start, start + DESCRIPTOR.size, f"descriptor of {_kind_of(item)}")


def _kind_of(item: Descriptor) -> str:
    """Return how to name an object that no signature covers."""
    return f"signature {item.id}" if item.data_type == DataType.SIGNATURE else f"unsigned object {item.id}"


def _data_spans(sif: Sif, item: Descriptor, loose: set[int]) -> Iterator[Span]:
    """Yield the uncovered parts of an object's data; for a checked signature, the frame around the signed text."""
    if item.data_type != DataType.SIGNATURE:
        yield Span(item.offset, item.end, f"unsigned object {item.id}", odd=True)
        return
    data = sif.read(item)
    if item.id in loose:
        yield Span(item.offset, item.end, f"signature {item.id}, which was not checked in full")
    elif not dsse.looks_like_envelope(data):
        try:
            signed = cleartext.split(data)
        except MetadataError:
            yield Span(item.offset, item.end, f"signature {item.id}, which was not checked", odd=True)
            return
        behind = signed.start + len(signed.text)
        yield Span(item.offset, item.offset + signed.start, f"frame of signature {item.id}")
        yield Span(item.offset + behind, item.end, f"frame and unhashed parts of signature {item.id}")


def _gap_spans(sif: Sif) -> Iterator[Span]:
    """Yield the gaps between header, table and objects, and after the last object."""
    table_end = sif.header.table_offset + sif.header.total * DESCRIPTOR.size
    places = [(HEADER.size, HEADER.size), (sif.header.table_offset, table_end)]
    places += [(item.offset, item.end) for item in sif.objects]
    end = HEADER.size
    for start, stop in sorted(places):
        if start > end:
            yield Span(end, start, "gap", odd=_holds_bytes(sif, end, start))
        end = max(end, stop)
    yield Span(end, sif.size, "bytes behind the last object", odd=True)


def _holds_bytes(sif: Sif, start: int, end: int) -> bool:
    """Whether a gap has nonzero bytes, or is too large to search."""
    return end - start > _SCAN_BYTES or any(read_at(sif.fd, end - start, start))


def oddities(spans: Iterable[Span]) -> list[str]:
    """Return a clause for each span that SIF tools do not leave."""
    return [
        f"no signature covers bytes {span.start}-{span.end} ({span.end - span.start}): {span.what}"
        for span in spans
        if span.odd
    ]
