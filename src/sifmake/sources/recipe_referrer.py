"""The recipe of a SIF file in a registry: an artifact that refers to the file's, which the peers still understand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError
from sifmake.oci.digest import digest_bytes
from sifmake.oci.documents import parse_descriptor
from sifmake.oci.media_types import OCI_EMPTY, OCI_MANIFEST
from sifmake.sources.recipe import RECIPE, make_recipe, parse_recipe
from sifmake.sources.recipe_cuts import cut_sif, grain_for

if TYPE_CHECKING:
    from typing import Any

    from sifmake.oci.model import Descriptor
    from sifmake.registry.client import RegistryClient
    from sifmake.registry.upload import Uploader
    from sifmake.sources.recipe import Recipe

_EMPTY = b"{}"
"""The config of an artifact without one (OCI image-spec 1.1, "Guidance for an empty descriptor")."""


def push_recipe(client: RegistryClient, fd: int, layer: Descriptor, subject: Descriptor, limit: int) -> None:
    """Store the recipe of a SIF file that was just pushed.

    Args:
        client: Client of the file's repository.
        fd: The file, open for reading.
        layer: The blob of the file.
        subject: The manifest of the file.
        limit: Most bytes of a recipe.

    Raises:
        SifmakeError: The file is not well-formed or has too many ranges, or the registry refuses the recipe.
        OSError: The file cannot be read.
    """
    grain = grain_for(layer.size)
    data = make_recipe(grain, cut_sif(fd, grain), layer.digest, limit).encode()
    uploader = client.uploader()
    for blob in (data, _EMPTY):
        _put(uploader, blob)
    client.referrers(of_home=True).add(uploader, _recipe_manifest(data, subject), subject.digest, RECIPE)


def _recipe_manifest(recipe: bytes, subject: Descriptor) -> bytes:
    """Return the manifest of a recipe that refers to the manifest of its SIF file."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": RECIPE,
        "config": _described(OCI_EMPTY, digest_bytes(_EMPTY), len(_EMPTY)),
        "layers": [_described(RECIPE, digest_bytes(recipe), len(recipe))],
        "subject": _described(subject.media_type, subject.digest, subject.size),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def find_recipe(client: RegistryClient, subject: str, layer: Descriptor, limit: int) -> Recipe | None:
    """Return the recipe of a SIF file, or None if there is none.

    Args:
        client: Client of the file's repository.
        subject: Digest of the file's manifest.
        layer: The blob of the file.
        limit: Most bytes of a recipe.

    Raises:
        SifmakeError: There is a recipe that cannot be used.
    """
    referrers = client.referrers()
    found = referrers.find(subject, RECIPE)
    if not found:
        return None
    manifest = referrers.manifest(found[0])
    if parse_descriptor(manifest.get("subject")).digest != subject:
        raise IntegrityError("the recipe belongs to another artifact")
    listed = manifest.get("layers")
    blobs = [parse_descriptor(item) for item in listed] if isinstance(listed, list) else []
    if len(blobs) != 1 or blobs[0].media_type != RECIPE:
        raise IntegrityError("the artifact of the recipe does not have one recipe")
    recipe = parse_recipe(referrers.blob(blobs[0], limit), limit)
    if (recipe.size, recipe.digest) != (layer.size, layer.digest):
        raise IntegrityError("the recipe belongs to another file")
    return recipe


def _put(uploader: Uploader, data: bytes) -> None:
    digest = digest_bytes(data)
    if not uploader.has_blob(digest):
        uploader.put_blob(digest, len(data), data)


def _described(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}
