"""The manifest of an image whose layers were written again: the same config, and everything else that still holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from sifmake.oci.documents import load_json
from sifmake.oci.media_types import DOCKER_MANIFEST, OCI_LAYER, OCI_MANIFEST
from sifmake.oci.model import Descriptor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sifmake.oci.model import Image

_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


class NewManifest(NamedTuple):
    """A manifest.

    Attributes:
        data: Its bytes.
        media_type: Its type.
    """

    data: bytes
    media_type: str


def _media_type_of(image: Image) -> str:
    """Return the media type of an image's manifest, which older ones do not state."""
    stated = load_json(image.manifest).get("mediaType")
    return stated if isinstance(stated, str) and stated else OCI_MANIFEST


def new_layer(image: Image, digest: str, size: int, *, compressed: bool) -> Descriptor:
    """Return the descriptor of a layer that was written again, of a type that fits the image's manifest."""
    if _media_type_of(image) == DOCKER_MANIFEST:
        return Descriptor(f"{_DOCKER_LAYER}{'.gzip' if compressed else ''}", digest, size)
    return Descriptor(f"{OCI_LAYER}{'+gzip' if compressed else ''}", digest, size)


def new_manifest(image: Image, layers: Sequence[Descriptor]) -> NewManifest:
    """Return the manifest of an image with these layers: its own bytes if they are its own layers.

    Args:
        image: The image.
        layers: Lowest first; those that are not the image's own lose their annotations, which described other bytes.
    """
    if list(layers) == [layer.descriptor for layer in image.layers]:
        return NewManifest(image.manifest, _media_type_of(image))
    document = load_json(image.manifest)
    before = document["layers"]
    document["layers"] = [
        old if new == layer.descriptor else {"mediaType": new.media_type, "digest": new.digest, "size": new.size}
        for old, new, layer in zip(before, layers, image.layers, strict=True)
    ]
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return NewManifest(data, _media_type_of(image))
