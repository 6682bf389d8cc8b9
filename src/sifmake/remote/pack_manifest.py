"""The manifest of a pack in a registry: one blob that is the pack, and perhaps a signed statement about it.

The tag is the key of the pack, and the bytes depend on nothing else, so the same pack always has the same manifest.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sifmake.errors import IntegrityError
from sifmake.oci.digest import digest_bytes
from sifmake.oci.documents import load_json, parse_descriptor
from sifmake.oci.media_types import OCI_EMPTY, OCI_MANIFEST
from sifmake.oci.model import Descriptor
from sifmake.store.naming import BLOBS, PACKS, STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PACK = "application/vnd.sifmake.pack.v1"
STEP = "application/vnd.sifmake.step.v1"
_FILES = "application/vnd.sifmake.files.v1"
"""Types of artifacts and of their first blobs, which are files as they are in a store."""
DSSE = "application/vnd.dsse.envelope.v1+json"
EMPTY = b"{}"
"""The config of an artifact without one (OCI image-spec 1.1, "Guidance for an empty descriptor")."""
_KINDS = {PACKS: (PACK, ""), STEPS: (STEP, "step-"), BLOBS: (_FILES, "files-")}
"""Types of the artifacts of each kind, and what their tags begin with; of blobs, only lists of files are shared."""
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_KEY = re.compile(r"([0-9a-f]{64})-([a-z0-9]+)-")
_STEP_TAG = re.compile(r"(?:step|files)-([0-9a-f]{64})\Z")


@dataclass(frozen=True)
class PackManifest:
    """What a manifest says.

    Attributes:
        pack: The file.
        statement: The signed statement about it; None if there is none.
    """

    pack: Descriptor
    statement: Descriptor | None


def name_of(kind: str, key: str) -> tuple[str, str]:
    """Return the type of the artifact with a file of a store, and its tag.

    Args:
        kind: The folder of the file in a store.
        key: Its key; of a blob its digest.
    """
    artifact_type, prefix = _KINDS[kind]
    return artifact_type, prefix + key.removeprefix("sha256:")


def is_tag(key: str) -> bool:
    """Whether a key can be a tag; one with a SHA-512 is too long (OCI distribution spec, "Pulling manifests")."""
    return _TAG.match(key) is not None


def subject_of(tag: str) -> str:
    """Return what a tag is about, hexadecimal: a DiffID, the key of a step, or a list of files; empty for others."""
    match = _KEY.match(tag) or _STEP_TAG.match(tag)
    return match[1] if match else ""


def annotations_of(key: str) -> dict[str, str]:
    """Return what people see of a pack in a registry; nothing reads it back."""
    match = _KEY.match(key)
    return {"sifmake.pack.codec": match[2], "sifmake.pack.diff-id": f"sha256:{match[1]}"} if match else {}


def write_manifest(
    blobs: Sequence[Descriptor], artifact_type: str, annotations: Mapping[str, str], *, plain: bool = False
) -> bytes:
    """Return the manifest of an artifact.

    Args:
        blobs: Its blobs.
        artifact_type: Its type.
        annotations: Texts for people.
        plain: Whether to write the form for registries that do not know ``artifactType``: the type is that of the
            config.
    """
    config = Descriptor(artifact_type if plain else OCI_EMPTY, digest_bytes(EMPTY), len(EMPTY))
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        **({} if plain else {"artifactType": artifact_type}),
        "config": _described(config),
        "layers": [_described(blob) for blob in blobs],
        **({"annotations": dict(annotations)} if annotations else {}),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def read_manifest(data: bytes, artifact_type: str = PACK) -> PackManifest:
    """Return what the manifest of a pack says.

    Args:
        data: The manifest, from anywhere.
        artifact_type: The type that the artifact and its first blob must have.

    Raises:
        IntegrityError: It is not well-formed, or is that of something else.
    """
    document = load_json(data)
    config, layers = parse_descriptor(document.get("config")), document.get("layers")
    kinds = (document.get("artifactType"), config.media_type)
    if document.get("schemaVersion") != 2 or not isinstance(layers, list) or artifact_type not in kinds:
        raise IntegrityError("this is the manifest of something else")
    blobs = [parse_descriptor(item) for item in layers[:3]]
    if [blob.media_type for blob in blobs] not in ([artifact_type], [artifact_type, DSSE]):
        raise IntegrityError("the manifest does not list one pack")
    if not all(blob.digest.startswith("sha256:") for blob in blobs):
        raise IntegrityError("the manifest has a digest that is not a SHA-256")
    return PackManifest(blobs[0], blobs[1] if len(blobs) > 1 else None)


def _described(blob: Descriptor) -> dict[str, Any]:
    return {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size}
