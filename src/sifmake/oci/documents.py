"""Parsing of untrusted manifests, indexes and configs."""

from __future__ import annotations

import binascii
from typing import Any

import msgspec

from sifmake.errors import IntegrityError, LimitError, SourceError
from sifmake.json_text import BeyondLimitError, parse_json
from sifmake.oci.digest import check_bytes, is_digest
from sifmake.oci.media_types import CONFIGS, INDEXES, MANIFESTS, SCHEMA_1, is_layer, what_it_is
from sifmake.oci.model import Descriptor, ImageConfig, Platform

_LARGEST_SIZE = 1 << 62
MOST_ENTRIES = 10_000
"""Descriptors in one document."""
_REBUILD = "ask its owner to rebuild the image with fewer entries"


class Index(msgspec.Struct, frozen=True):
    """An image index or Docker manifest list."""

    entries: tuple[Descriptor, ...]


class Manifest(msgspec.Struct, frozen=True):
    """The manifest of one image."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def parse_document(data: bytes) -> Index | Manifest:
    """Parse an index or manifest; the kind is taken from the document, not from a header.

    Raises:
        IntegrityError: The bytes are not such a document.
        SourceError: It is of a kind that is not an image.
    """
    document = load_json(data)
    media_type = _text(document, "mediaType")
    if media_type in SCHEMA_1 or "fsLayers" in document or document.get("schemaVersion") == 1:
        raise SourceError(
            "the image is stored in the obsolete format Docker schema 1, which has no DiffIDs and no config",
            hint="pull and push it again with a current Docker, or ask its owner to do so",
        )
    if "manifests" in document and ("layers" in document or "config" in document):
        raise IntegrityError("the document is both an index and a manifest")
    if media_type in INDEXES or (not media_type and "manifests" in document):
        return parse_index(document)
    if media_type in MANIFESTS or (not media_type and "layers" in document):
        return parse_manifest(document)
    if media_type:
        name, hint = what_it_is(media_type)
        raise SourceError(f"this is {name}, not a container image", hint=hint)
    raise IntegrityError("the document is neither an image manifest nor an index")


def parse_index(document: dict[str, Any]) -> Index:
    """Return an index from its parsed document.

    Raises:
        IntegrityError: It is not well-formed.
    """
    return Index(tuple(parse_descriptor(item) for item in _list(document, "manifests")))


def parse_manifest(document: dict[str, Any]) -> Manifest:
    """Return a manifest from its parsed document.

    Raises:
        IntegrityError: It is not well-formed.
        SourceError: It does not describe a container image.
    """
    config = parse_descriptor(document.get("config"))
    layers = tuple(parse_descriptor(item) for item in _list(document, "layers"))
    if config.media_type not in CONFIGS:
        name, hint = what_it_is(config.media_type)
        if config.media_type.startswith(("application/vnd.oci.empty", "application/vnd.unknown")) and layers:
            name, hint = what_it_is(_text(document, "artifactType") or layers[0].media_type)
        raise SourceError(f"this is {name}, not a container image", hint=hint)
    for number, layer in enumerate(layers, 1):
        if not is_layer(layer.media_type):
            name, hint = what_it_is(layer.media_type)
            raise SourceError(f"layer {number} of {len(layers)} is {name}, not a tar layer", hint=hint)
    return Manifest(config, layers)


def parse_descriptor(item: Any) -> Descriptor:
    """Return a descriptor from its JSON value; embedded data is checked.

    Raises:
        IntegrityError: It is not well-formed.
    """
    if not isinstance(item, dict):
        raise IntegrityError("a descriptor is missing or is not a JSON object")
    digest, size = item.get("digest"), item.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise IntegrityError(f"{str(digest)[:80]!r} is not a sha256 or sha512 digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST_SIZE:
        raise IntegrityError(f"{str(size)[:40]!r} is not a size", where=digest)
    urls = item.get("urls")
    return Descriptor(
        _text(item, "mediaType"),
        digest,
        size,
        {key: value for key, value in _object(item, "annotations").items() if isinstance(value, str)},
        _parse_platform_object(item.get("platform")),
        tuple(url for url in urls if isinstance(url, str)) if isinstance(urls, list) else (),
        _embedded(item, digest, size),
        _text(item, "artifactType"),
    )


def _parse_platform_object(item: Any) -> Platform | None:
    """Return the platform from its JSON value; None if there is none."""
    if not isinstance(item, dict):
        return None
    return Platform(_text(item, "os"), _text(item, "architecture"), _text(item, "variant"))


def parse_config(data: bytes) -> ImageConfig:
    """Return an image config from its bytes.

    Raises:
        IntegrityError: It is not well-formed, or lists no DiffIDs.
    """
    document = load_json(data)
    rootfs = document.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if diff_ids is None and isinstance(rootfs, dict):
        diff_ids = []
    if not isinstance(diff_ids, list):
        raise IntegrityError("the image config has no rootfs.diff_ids")
    for diff_id in diff_ids:
        if not is_digest(diff_id):
            raise IntegrityError(f"the image config lists {str(diff_id)[:80]!r}, which is not a DiffID")
    platform = Platform(_text(document, "os"), _text(document, "architecture"), _text(document, "variant"))
    return ImageConfig(data, document, platform, tuple(diff_ids))


def looks_like_config(data: bytes) -> bool:
    """Tell whether a document is an image config."""
    try:
        return "rootfs" in parse_config(data).document
    except IntegrityError:
        return False


def load_json(data: bytes) -> dict[str, Any]:
    """Return the JSON object in some bytes.

    Raises:
        IntegrityError: They are not UTF-8, not JSON, or not an object.
        LimitError: They have too many values, or are nested too deeply.
    """
    try:
        document = parse_json(data)
    except BeyondLimitError as error:
        raise LimitError(f"the document exceeds a limit: {error}", hint=_REBUILD) from None
    except ValueError as error:
        raise IntegrityError(f"the document is not JSON ({error})", hint=_hint_for(data)) from None
    if not isinstance(document, dict):
        raise IntegrityError("the document is not a JSON object")
    return document


def _hint_for(data: bytes) -> str:
    html = data[:200].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml"))
    return "this is a web page; check the registry's address and the proxy" if html else ""


def _embedded(item: dict[str, Any], digest: str, size: int) -> bytes | None:
    text = item.get("data")
    if not isinstance(text, str):
        return None
    import base64

    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise IntegrityError("the embedded data is not base64", where=digest) from None
    return check_bytes(data, digest, size)


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _list(document: dict[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise IntegrityError(f"{key!r} is not a list of descriptors")
    if len(value) > MOST_ENTRIES:
        raise LimitError(f"{key!r} has {len(value)} entries, more than the limit of {MOST_ENTRIES}", hint=_REBUILD)
    return value
