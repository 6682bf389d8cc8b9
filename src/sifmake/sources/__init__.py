"""Sources of images: one small module per transport, with one interface for all."""

from sifmake.sources.base import BlobReader, KnownIndexes, Resolved, SifSource, Source
from sifmake.sources.opening import open_sif_source, open_source
from sifmake.sources.settings import SourceSettings

__all__ = [
    "BlobReader",
    "KnownIndexes",
    "Resolved",
    "SifSource",
    "Source",
    "SourceSettings",
    "open_sif_source",
    "open_source",
]
