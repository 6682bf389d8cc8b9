"""The layout of a new SIF file, computed before any data is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import SifError
from sifmake.sif.extra import read_partition
from sifmake.sif.format import (
    DEFAULT_SLOTS,
    EXTRA_BYTES,
    GROUP_MASK,
    LAUNCH,
    NAME_BYTES,
    NIL_UUID,
    TABLE_OFFSET,
    ZERO_TIME,
    DataType,
    Descriptor,
    Header,
    arch_code,
    arch_name,
)
from sifmake.sif_table import DESCRIPTOR, MAGIC, VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

_SPARE_SLOTS = 8
PARTITION_ALIGNMENT = 4096


class NewObject(NamedTuple):
    """An object to write.

    Attributes:
        data_type: What it holds.
        size: Bytes of data.
        name: Name, at most 128 bytes of UTF-8.
        group: Number of its group; 0 for none, as in signatures.
        link: 0, an object's number, or what ``group_link`` returns.
        alignment: The data begins at a multiple of this, bytes; partitions need 4096.
        extra: Type-specific bytes; see ``partition_extra`` and its neighbours.
    """

    data_type: DataType
    size: int
    name: str = ""
    group: int = 1
    link: int = 0
    alignment: int = 1
    extra: bytes = b""


class SifPlan(NamedTuple):
    """The layout of a new SIF file.

    Attributes:
        head: Everything before the first object may begin: header, gap and descriptor table.
        offsets: Where the data of each object begins, in the order given.
        size: Bytes of the finished file.
    """

    head: bytes
    offsets: tuple[int, ...]
    size: int


def plan(
    objects: Sequence[NewObject],
    *,
    arch: str,
    launch: bytes = LAUNCH,
    uuid: bytes = NIL_UUID,
    time: int = ZERO_TIME,
) -> SifPlan:
    """Lay out a new SIF file; without ``uuid`` and ``time`` it is deterministic.

    Args:
        objects: In the order of the file; the first gets number 1.
        arch: Architecture of the primary partition in Go's spelling; "unknown" if there is none.
        launch: Launch script, at most 31 bytes.
        uuid: Sixteen bytes that name the image.
        time: Unix seconds for all time fields.

    Raises:
        SifError: A name, architecture or extra does not fit, or there are two primary partitions.
    """
    slots = max(DEFAULT_SLOTS, len(objects) + _SPARE_SLOTS)
    data_offset = TABLE_OFFSET + slots * DESCRIPTOR.size
    descriptors: list[Descriptor] = []
    end = data_offset
    for slot, item in enumerate(objects):
        descriptors.append(place(item, slot, end, time))
        end = descriptors[-1].end
    _check_architecture(descriptors, arch)
    header = _new_header(arch, launch, uuid, time, slots, slots - len(objects), end)
    table = b"".join(item.pack() for item in descriptors)
    head = (header.pack().ljust(TABLE_OFFSET, b"\0") + table).ljust(data_offset, b"\0")
    return SifPlan(head, tuple(item.offset for item in descriptors), end)


def _new_header(arch: str, launch: bytes, uuid: bytes, time: int, slots: int, free: int, end: int) -> Header:
    """Return the header of a new file with a number of descriptor slots and data that ends at ``end``."""
    table_size = slots * DESCRIPTOR.size
    return Header(
        launch=launch,
        magic=MAGIC,
        version=VERSION,
        arch=arch_code(arch),
        uuid=uuid,
        created=time,
        modified=time,
        free=free,
        total=slots,
        table_offset=TABLE_OFFSET,
        table_size=table_size,
        data_offset=TABLE_OFFSET + table_size,
        data_size=end - TABLE_OFFSET - table_size,
    )


def place(item: NewObject, slot: int, end: int, time: int) -> Descriptor:
    """Return the descriptor of an object that follows data ending at ``end``.

    Raises:
        SifError: Its name or extra does not fit.
    """
    name = item.name.encode()
    if len(name) > NAME_BYTES or len(item.extra) > EXTRA_BYTES:
        raise SifError(f"the name or extra data of object {slot + 1} does not fit into its descriptor")
    offset = -(-end // item.alignment) * item.alignment
    return Descriptor(
        slot=slot,
        data_type=item.data_type,
        used=1,
        id=slot + 1,
        group=GROUP_MASK | item.group,
        link=item.link,
        offset=offset,
        size=item.size,
        padded_size=offset - end + item.size,
        created=time,
        modified=time,
        uid=0,
        gid=0,
        name=name.ljust(NAME_BYTES, b"\0"),
        extra=item.extra.ljust(EXTRA_BYTES, b"\0"),
    )


def _check_architecture(descriptors: Sequence[Descriptor], arch: str) -> None:
    """Raise SifError unless header and the at most one primary partition name the same architecture."""
    try:
        code = arch_code(arch)
    except ValueError:
        raise SifError(f"the SIF format has no code for the architecture {arch!r}") from None
    primaries = [part for item in descriptors if (part := read_partition(item)) is not None and part.primary]
    if len(primaries) > 1:
        raise SifError("more than one primary partition, which a SIF file cannot have")
    if primaries and primaries[0].arch != code:
        raise SifError(f"the primary partition is for {arch_name(primaries[0].arch)}, the header for {arch}")
