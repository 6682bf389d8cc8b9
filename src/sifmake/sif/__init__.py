"""Lay out, read and extend SIF files. Does not depend on images."""

from sifmake.sif.extra import (
    FsType,
    HashType,
    Partition,
    PartType,
    digest_extra,
    partition_extra,
    read_partition,
    read_signature,
    signature_extra,
)
from sifmake.sif.format import DataType, Descriptor, Header, group_link
from sifmake.sif.plan import PARTITION_ALIGNMENT, NewObject, SifPlan, plan
from sifmake.sif.reader import Sif, open_sif, problems, read_sif
from sifmake.sif_table import NotSifError

__all__ = [
    "PARTITION_ALIGNMENT",
    "DataType",
    "Descriptor",
    "FsType",
    "HashType",
    "Header",
    "NewObject",
    "NotSifError",
    "PartType",
    "Partition",
    "Sif",
    "SifPlan",
    "digest_extra",
    "group_link",
    "open_sif",
    "partition_extra",
    "plan",
    "problems",
    "read_partition",
    "read_sif",
    "read_signature",
    "signature_extra",
]
