"""The default name of the SIF file of a pull, as in Apptainer."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from sifmake.reference.local import split_local
from sifmake.reference.reference import DEFAULT_TAG, parse_reference
from sifmake.reference.uri import FILE, Uri, as_uri

_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_DIGEST_LETTERS = 12


def default_sif_name(uri: Uri | str) -> str:
    """Return the file name: last path component, ``_``, tag (else short digest, else ``latest``), ``.sif``.

    ``http(s)`` and local files keep their own name.

    Raises:
        BadReferenceError: The URI is malformed.
    """
    parsed = as_uri(uri)
    if parsed.transport in {"http", "https"}:
        return _own_name(unquote(urlsplit(str(parsed)).path))
    if parsed.transport == FILE:
        return _own_name(parsed.rest)
    name, tag, digest = _parts(parsed)
    return f"{_safe(name) or 'image'}_{_safe(tag) or _short(digest) or DEFAULT_TAG}.sif"


def _parts(uri: Uri) -> tuple[str, str, str]:
    if uri.transport in {"docker", "oras", "docker-daemon"}:
        reference = parse_reference(uri.rest)
        return reference.repository.rpartition("/")[2], reference.tag, reference.digest
    local = split_local(uri.rest)
    number = "" if local.number is None else str(local.number)
    tag = local.tag.rpartition("/")[2].rpartition(":")[2]
    return local.path.absolute().name, tag or number, local.digest


def _own_name(path: str) -> str:
    name = _safe(PurePosixPath(path).name) or "image"
    return name if "." in name else f"{name}.sif"


def _short(digest: str) -> str:
    algorithm, _, hexes = digest.partition(":")
    return f"{algorithm}-{hexes[:_DIGEST_LETTERS]}" if digest else ""


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text).lstrip(".")
