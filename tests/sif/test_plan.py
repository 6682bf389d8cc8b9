"""Layouts against files that the reference library wrote."""

import pytest

from sifmake.errors import SifError
from sifmake.sif import (
    PARTITION_ALIGNMENT,
    DataType,
    FsType,
    NewObject,
    PartType,
    digest_extra,
    open_sif,
    partition_extra,
    plan,
)
from support.corpus import SIF_FROM_PEERS, SIF_IMAGES, needs_corpus

PRIMARY = partition_extra(FsType.SQUASHFS, PartType.PRIMARY_SYSTEM, "386")


def partition(size, extra=PRIMARY, group=1):
    return NewObject(DataType.PARTITION, size, group=group, alignment=PARTITION_ALIGNMENT, extra=extra)


CASES = [
    ("empty.sif", [], "unknown", {"launch": b""}),
    (
        "one-group.sif",
        [partition(4, partition_extra(FsType.RAW, PartType.SYSTEM, "386")), partition(4096)],
        "386",
        {"launch": b""},
    ),
    (
        "two-groups.sif",
        [
            partition(4, partition_extra(FsType.RAW, PartType.SYSTEM, "386")),
            partition(4096),
            partition(262144, partition_extra(FsType.EXT3, PartType.SYSTEM, "amd64"), 2),
        ],
        "386",
        {"launch": b""},
    ),
    (
        "one-object-generic-json.sif",
        [NewObject(DataType.GENERIC_JSON, 2, name="data.json")],
        "unknown",
        {"launch": b""},
    ),
]


@needs_corpus
@pytest.mark.parametrize(("name", "objects", "arch", "options"), CASES, ids=[case[0] for case in CASES])
def test_head_equals_the_reference_librarys(name, objects, arch, options):
    real = (SIF_IMAGES / name).read_bytes()
    layout = plan(objects, arch=arch, **options)
    assert layout.head.hex(" ") == real[: len(layout.head)].hex(" ")
    assert layout.size == len(real)
    with open_sif(SIF_IMAGES / name) as sif:
        assert layout.offsets == tuple(item.offset for item in sif.objects)


@needs_corpus
def test_oci_digest_extra_equals_the_reference_librarys():
    with open_sif(SIF_IMAGES / "one-object-oci-blob.sif") as sif:
        (blob,) = sif.find(DataType.OCI_BLOB)
        digest = blob.extra.rstrip(b"\0").decode()
        assert blob.extra == digest_extra(digest).ljust(384, b"\0")


def test_table_grows_beyond_48_slots_and_data_moves_behind_it():
    layout = plan([NewObject(DataType.GENERIC, 1)] * 130, arch="unknown")
    assert layout.offsets[0] == len(layout.head) == 4096 + 138 * 585
    assert layout.size == len(layout.head) + 130


@needs_corpus
def test_default_launch_script_is_the_peers():
    head = plan([], arch="unknown").head
    assert head[:32] == (SIF_FROM_PEERS / "alpine-odd.apptainer.sif").read_bytes()[:32]


def test_48_slots_put_data_at_32176():
    assert plan([NewObject(DataType.GENERIC, 1)], arch="unknown").offsets == (32176,)


@pytest.mark.parametrize(
    ("objects", "arch", "words"),
    [
        ([partition(1), partition(1)], "386", "one primary partition"),
        ([partition(1)], "amd64", "partition is for 386, the header for amd64"),
        ([], "vax", "no code for the architecture 'vax'"),
        ([NewObject(DataType.GENERIC, 1, name="x" * 129)], "unknown", "does not fit"),
        ([NewObject(DataType.GENERIC, 1, extra=bytes(385))], "unknown", "does not fit"),
    ],
)
def test_refusals(objects, arch, words):
    with pytest.raises(SifError, match=words):
        plan(objects, arch=arch)
