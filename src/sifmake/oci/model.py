"""Digests, descriptors, manifests and configs (OCI image spec 1.1, Docker image manifest 2.2)."""

from __future__ import annotations

from typing import Any

import msgspec


class Platform(msgspec.Struct, frozen=True):
    """The platform of a binary, with Go's names (``linux``, ``arm64``, ``v8``)."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(msgspec.Struct, frozen=True):
    """A reference to content by digest (OCI image spec, descriptor.md).

    Attributes:
        media_type: Announced type of the content.
        digest: ``algorithm:hex``, checked for form.
        size: Bytes.
        annotations: Free text, by key.
        platform: Set in indexes.
        urls: Other places of the content (foreign layers).
        data: The content itself, if it is embedded.
        artifact_type: Kind of artifact, in an index; empty for images.
    """

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    data: bytes | None = None
    artifact_type: str = ""


class Layer(msgspec.Struct, frozen=True):
    """One layer of an image: the blob and the DiffID that its uncompressed bytes must have."""

    descriptor: Descriptor
    diff_id: str


class ImageConfig(msgspec.Struct, frozen=True):
    """An image's configuration (OCI image spec, config.md).

    Attributes:
        raw: The bytes of the document, which the digest covers.
        document: The parsed document.
        platform: From ``os``, ``architecture`` and ``variant``; empty strings where they are missing.
        diff_ids: Digests of the uncompressed layers, lowest first.
    """

    raw: bytes
    document: dict[str, Any]
    platform: Platform
    diff_ids: tuple[str, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """The ``config`` member: Env, Entrypoint, Cmd, Labels, ...; empty when null or missing."""
        value = self.document.get("config")
        return value if isinstance(value, dict) else {}

    @property
    def created(self) -> str:
        """The ``created`` member (RFC 3339) or an empty string."""
        value = self.document.get("created")
        return value if isinstance(value, str) else ""


class Image(msgspec.Struct, frozen=True):
    """One image for one platform, as returned by every source.

    Attributes:
        digest: Digest of the platform's manifest.
        manifest: The bytes of the manifest, which the digest covers.
        config_descriptor: Descriptor of the config.
        config: The config itself.
        layers: Lowest first.
    """

    digest: str
    manifest: bytes
    config_descriptor: Descriptor
    config: ImageConfig
    layers: tuple[Layer, ...]
