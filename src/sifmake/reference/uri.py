"""Image URIs: a transport, and a rest whose meaning depends on the transport."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from sifmake.errors import BadReferenceError
from sifmake.reference.address import shown_address, whole_address
from sifmake.reference.reference import parse_reference

if TYPE_CHECKING:
    from sifmake.reference.reference import Reference

FILE = "file"
_TRANSPORTS = ("docker", "oci", "oci-archive", "docker-archive", "docker-daemon", "oras", "http", "https", FILE)
REGISTRY_TRANSPORTS = frozenset({"docker", "oras"})
_SIF_TRANSPORTS = frozenset({"oras", "http", "https", FILE})
"""Transports of prebuilt SIF files, which have no layers."""

_FOREIGN_TRANSPORTS = {
    "library": "the SIF library",
    "shub": "Singularity Hub",
    "ipfs": "IPFS",
    "instance": "running instances",
    "dir": "folders of blobs",
    "containers-storage": "Podman's storage",
    "ostree": "OSTree",
    "buildkit": "BuildKit",
    "dockerfile": "Dockerfiles",
}
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):(//)?(.*)\Z", re.DOTALL)
SIF_SUFFIXES = (".sif", ".simg", ".img")
"""Ends of names that stand for SIF files."""


@dataclass(frozen=True)
class Uri:
    """The location of an image.

    Attributes:
        transport: One of ``TRANSPORTS``.
        rest: The part after ``transport:`` or ``transport://``.
        given: The parsed text, for messages and notes; the usual form if there was none.
    """

    transport: str
    rest: str
    given: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.given:
            object.__setattr__(self, "given", str(self))

    def __str__(self) -> str:
        slashes = "//" if self.transport in {"docker", "oras", "http", "https"} else ""
        return f"{self.transport}:{slashes}{self.rest}"

    @property
    def is_sif(self) -> bool:
        """Whether it names a prebuilt SIF file, not an image with layers."""
        return self.transport in _SIF_TRANSPORTS

    def pinned(self, digest: str) -> Uri:
        """Return the same image pinned to a digest."""
        return Uri(self.transport, f"{self.rest}@{digest}", f"{self.given}@{digest}")

    @cached_property
    def reference(self) -> Reference:
        """The rest as an image reference. Raises BadReferenceError if it is not one."""
        return parse_reference(self.rest)


def parse_uri(text: str) -> Uri:
    """Return transport and rest of an image URI; a path (``./x``, ``/x``, ``x.sif``) has the transport ``file``.

    Raises:
        BadReferenceError: The transport is missing or unknown, or nothing follows it.
    """
    match = _SCHEME.match(text)
    if match and match[1].lower() in _TRANSPORTS:
        return _known(text, match[1].lower(), match[3])
    if match and match[1].lower() in _FOREIGN_TRANSPORTS:
        raise BadReferenceError(
            f"{_FOREIGN_TRANSPORTS[match[1].lower()]} cannot be a source", where=text, hint=f"use {_list()}"
        )
    if text.startswith(("/", "./", "../")) or text.endswith(SIF_SUFFIXES):
        return Uri(FILE, text, text)
    if match and match[2]:
        raise BadReferenceError(f"the transport {match[1]!r} is not known", where=text, hint=f"use {_list()}")
    raise BadReferenceError("the image has no transport", where=text or "''", hint=_suggest(text))


def as_uri(image: Uri | str) -> Uri:
    """Return an image URI that may still be text; raises the errors of :func:`parse_uri`."""
    return parse_uri(image) if isinstance(image, str) else image


def _known(text: str, transport: str, rest: str) -> Uri:
    if not rest:
        raise BadReferenceError("nothing follows the transport", where=text)
    uri = Uri(transport, rest, text)
    if transport in REGISTRY_TRANSPORTS:
        _refuse_only_host(uri)
    if transport in {"http", "https"} and not whole_address("", f"{transport}://{rest}"):
        where = shown_address(text)
        raise BadReferenceError("not the address of a file", where=where, hint="write https://HOST/PATH")
    return uri


def _refuse_only_host(uri: Uri) -> None:
    """Raise BadReferenceError where a registry stands without an image, although it could be a name on Docker Hub."""
    name = uri.reference.repository.removeprefix("library/")
    if "/" not in uri.rest and ("." in name or name == "localhost"):
        hint = f"write {uri.transport}://{uri.rest.partition('@')[0]}/NAME:TAG"
        raise BadReferenceError("this names a registry, but no image in it", where=uri.given, hint=hint)


def _suggest(text: str) -> str:
    from sifmake.not_sif import describe_name, describe_path

    if advice := describe_path(text) or describe_name(text):
        return advice
    try:
        parse_reference(text)
    except BadReferenceError:
        return f"use {_list()}"
    return f"write docker://{text} for an image in a registry"


def _list() -> str:
    return "docker://, oci:, oci-archive:, docker-archive:, docker-daemon:, oras:// or https://"
