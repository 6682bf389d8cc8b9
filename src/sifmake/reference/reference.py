"""Image references by Docker's rules: ``[registry/]repository[:tag][@digest]``."""

from __future__ import annotations

import re
from typing import NamedTuple

from sifmake.errors import BadReferenceError

DOCKER_HUB = "docker.io"
DOCKER_HUB_API = "registry-1.docker.io"
_DOCKER_HUB_ALIASES = frozenset({DOCKER_HUB, "index.docker.io"})
DEFAULT_TAG = "latest"
_LONGEST_NAME = 255

DIGEST = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*\Z")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?\Z")
_HEX_ID = re.compile(r"[0-9a-f]{64}\Z")
_EXAMPLE = "write [REGISTRY/]NAME[:TAG][@sha256:DIGEST], for example quay.io/org/image:1.0"


class Reference(NamedTuple):
    """The name of an image in a registry.

    Attributes:
        registry: Host, with a port if one was given; ``docker.io`` for all names of Docker Hub.
        repository: Path in the registry, for example ``library/alpine``.
        tag: Empty only if a digest without a tag was given.
        digest: ``sha256:...`` or ``sha512:...``; empty if none was given.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def api_host(self) -> str:
        """The host[:port] that answers the registry API."""
        return DOCKER_HUB_API if self.registry == DOCKER_HUB else self.registry

    @property
    def canonical(self) -> str:
        """The full name, for example ``docker.io/library/alpine:latest``."""
        return f"{self.registry}/{self.repository}{self._suffix}"

    @property
    def familiar(self) -> str:
        """The name as people write it, for example ``alpine:latest``."""
        if self.registry != DOCKER_HUB:
            return self.canonical
        return f"{self.repository.removeprefix('library/')}{self._suffix}"

    @property
    def wanted(self) -> str:
        """What to request from a registry: the digest if there is one, else the tag."""
        return self.digest or self.tag

    def with_digest(self, digest: str) -> Reference:
        """Return the same name pinned to a digest."""
        return self._replace(digest=digest)

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.canonical


def parse_reference(text: str) -> Reference:
    """Parse an image reference; a missing registry or tag gets Docker's default.

    Raises:
        BadReferenceError: It does not follow the grammar.
    """
    if "://" in text:
        hint = "leave out everything up to ://; for a registry without TLS, use --no-https or plain-http"
        raise _bad(text, "an image reference must not have a scheme", hint)
    name, at, digest = text.partition("@")
    if at and not DIGEST.match(digest):
        raise _bad(text, "the part after @ is not a digest", "write @sha256: and 64 hex digits")
    name, tag = _split_tag(name)
    if tag is not None and not _TAG.match(tag):
        raise _bad(text, f"{tag!r} is not a tag", "use at most 128 letters, digits, _ . -")
    registry, repository = _split_registry(text, name)
    _check_repository(text, repository)
    if len(registry) + len(repository) + 1 > _LONGEST_NAME:
        raise _bad(text[:40] + "...", f"the name is longer than {_LONGEST_NAME} characters", _EXAMPLE)
    return Reference(registry, repository, tag or ("" if digest else DEFAULT_TAG), digest)


def _is_registry_host(text: str) -> bool:
    """Tell whether the first component of a reference is a registry, not a user on Docker Hub."""
    return "." in text or ":" in text or text == "localhost" or text.lower() != text


def is_digest(text: object) -> bool:
    """Tell whether this is a sha256 or sha512 digest in its canonical form, which is safe in a file name."""
    return isinstance(text, str) and DIGEST.match(text) is not None


def is_host(text: str) -> bool:
    """Tell whether this is a host name or address, with a port or without."""
    return _HOST.match(text) is not None


def normal_host(host: str) -> str:
    """Return the canonical name of a registry host, in lower case unless only upper case makes it a host."""
    lower = host.lower()
    if lower in _DOCKER_HUB_ALIASES:
        return DOCKER_HUB
    return lower if _is_registry_host(lower) else host


def _split_tag(name: str) -> tuple[str, str | None]:
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, None)


def _split_registry(text: str, name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not _is_registry_host(first):
        registry, repository = DOCKER_HUB, name
    elif _HOST.match(first):
        registry, repository = normal_host(first), rest
    else:
        raise _bad(text, f"{first!r} is not a registry host", _EXAMPLE)
    if registry == DOCKER_HUB and "/" not in repository:
        if _HEX_ID.match(repository):
            raise _bad(text, "this is an image ID, not a name", f"write NAME@sha256:{repository[:12]}...")
        repository = f"library/{repository}"
    return registry, repository


def _check_repository(text: str, repository: str) -> None:
    if all(_COMPONENT.match(part) for part in repository.split("/")):
        return
    if repository.lower() != repository:
        raise _bad(text, "image names are lower-case", f"try {text.lower()}")
    raise _bad(text, f"{repository.removeprefix('library/')!r} is not an image name", _EXAMPLE)


def _bad(text: str, what: str, hint: str) -> BadReferenceError:
    return BadReferenceError(what, where=text or "''", hint=hint)
