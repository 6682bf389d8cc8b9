"""Media types of images, and names for other content (OCI media-types.md, Docker manifest v2 schema 2)."""

from __future__ import annotations

import re

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
SIF_LAYER = "application/vnd.sylabs.sif.layer.v1.sif"
SIF_LAYERS = frozenset(
    {SIF_LAYER, "application/vnd.sylabs.sif.layer.tar", "appliciation/vnd.sylabs.sif.layer.tar"}  # codespell:ignore
)
"""Types of SIF files; Singularity before 3.7 wrote the other two, the last one with that spelling."""
SIF_CONFIG = "application/vnd.sylabs.sif.config.v1+json"

INDEXES = frozenset({OCI_INDEX, _DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v1+json",
    }
)
ACCEPT = ", ".join(
    [
        OCI_INDEX,
        OCI_MANIFEST,
        _DOCKER_LIST,
        DOCKER_MANIFEST,
        "application/vnd.oci.artifact.manifest.v1+json",
        *(f"{media_type};q=0.1" for media_type in sorted(SCHEMA_1)),
    ]
)
"""All kinds of documents to accept, even those refused later, because a clear refusal is better than a 404."""

IMAGE_CONFIGS = frozenset({OCI_CONFIG, _DOCKER_CONFIG})
CONFIGS = frozenset({OCI_CONFIG, _DOCKER_CONFIG, "application/octet-stream"})
"""Configs of images; some registries of 2016 stored Docker's under the last one."""

_LAYER = re.compile(
    r"application/vnd\.oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+(?:gzip|zstd))?\Z"
    r"|application/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:[.+](?:gzip|zstd|zst|gz))?\Z"
    r"|application/vnd\.docker\.container\.image\.rootfs\.diff\+x-gtar\Z"
)
_FOREIGN = re.compile(r"\.(?:foreign|nondistributable)\.")

_OTHER_THINGS = (
    ("application/vnd.sylabs.sif.", "a SIF file", "use oras:// instead of docker://"),
    ("application/vnd.in-toto", "an attestation", "name the image itself"),
    ("application/vnd.dev.cosign.simplesigning", "a cosign signature", "name the image that it signs"),
    ("application/vnd.dev.sigstore", "a sigstore bundle", "name the image that it signs"),
    ("application/vnd.cncf.helm", "a Helm chart", "name a container image"),
    ("application/vnd.cncf.notary", "a Notary signature", "name the image that it signs"),
    ("application/vnd.wasm", "a WebAssembly module", "name a container image"),
    ("application/wasm", "a WebAssembly module", "name a container image"),
    ("application/spdx+json", "a bill of materials", "name a container image"),
    ("application/vnd.cyclonedx", "a bill of materials", "name a container image"),
    ("text/spdx", "a bill of materials", "name a container image"),
    ("application/vnd.docker.plugin", "a Docker plugin", "name a container image"),
    ("application/vnd.docker.ai", "an AI model", "name a container image"),
    ("application/vnd.cncf.model", "an AI model", "name a container image"),
    ("application/vnd.oci.empty", "an artifact without a config", "name a container image"),
    ("application/vnd.unknown.config", "an artifact of the ORAS tool", "name a container image"),
)


def is_layer(media_type: str) -> bool:
    """Tell whether this is the type of a tar layer with any compression."""
    return _LAYER.match(media_type) is not None


def is_foreign(media_type: str) -> bool:
    """Tell whether a layer of this type may be kept outside the registry."""
    return is_layer(media_type) and _FOREIGN.search(media_type) is not None


def is_known_thing(media_type: str) -> bool:
    """Tell whether a type is that of known content that is not an image."""
    return any(media_type.startswith(prefix) for prefix, _, _ in _OTHER_THINGS)


def what_it_is(media_type: str) -> tuple[str, str]:
    """Return a name for content that is not an image, and what to do."""
    if media_type.endswith("+encrypted"):
        return "an encrypted layer", "decrypt the image with skopeo copy --decryption-key first"
    for prefix, name, hint in _OTHER_THINGS:
        if media_type.startswith(prefix):
            return name, hint
    return f"an artifact of type {media_type or 'unknown'}", "name a container image"
