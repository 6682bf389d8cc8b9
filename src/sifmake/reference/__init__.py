"""Names of images: Docker's reference grammar, transports, and the default file name of a pull."""

from sifmake.reference.file_name import default_sif_name
from sifmake.reference.local import LocalReference, split_local
from sifmake.reference.reference import Reference, parse_reference
from sifmake.reference.uri import Uri, as_uri, parse_uri

__all__ = [
    "LocalReference",
    "Reference",
    "Uri",
    "as_uri",
    "default_sif_name",
    "parse_reference",
    "parse_uri",
    "split_local",
]
