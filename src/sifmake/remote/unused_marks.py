"""When packs were first seen to be unused: an artifact of the same registry, because manifests carry no time.

Registries do not say how old a manifest is, and those who collect garbage may each time be on another machine.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError
from sifmake.oci.digest import digest_bytes
from sifmake.oci.documents import load_json
from sifmake.oci.media_types import OCI_MANIFEST
from sifmake.oci.model import Descriptor
from sifmake.registry.error_responses import NotFoundError
from sifmake.remote.pack_manifest import EMPTY, read_manifest, write_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.registry.client import RegistryClient

_TAG = "sifmake-unused"
_MARKS = "application/vnd.sifmake.unused.v1+json"


def read_marks(client: RegistryClient, limit: int) -> dict[str, int]:
    """Return when each tag was first seen unused, in seconds since 1970; empty if nothing is known.

    Args:
        client: Client of the repository.
        limit: Most bytes of the list.

    Raises:
        RegistryError: There is no answer.
    """
    try:
        manifest = read_manifest(client.manifest(_TAG)[0], _MARKS)
        return parse_marks(client.blob(manifest.pack, limit))
    except (NotFoundError, IntegrityError):
        return {}


def parse_marks(data: bytes) -> dict[str, int]:
    """Return the list in some bytes; what is not a time is left out.

    Raises:
        IntegrityError: It is not well-formed.
    """
    marks = load_json(data)
    return {tag: moment for tag, moment in marks.items() if isinstance(moment, int) and not isinstance(moment, bool)}


def write_marks(client: RegistryClient, marks: Mapping[str, int]) -> None:
    """Write when each tag was first seen unused.

    Raises:
        RegistryError: The registry refuses it.
    """
    uploader = client.uploader()
    data = json.dumps(dict(sorted(marks.items())), separators=(",", ":")).encode()
    for blob in (data, EMPTY):
        if not uploader.has_blob(digest_bytes(blob)):
            uploader.put_blob(digest_bytes(blob), len(blob), blob)
    blobs = [Descriptor(_MARKS, digest_bytes(data), len(data))]
    uploader.put_manifest(_TAG, write_manifest(blobs, _MARKS, {}), OCI_MANIFEST)
