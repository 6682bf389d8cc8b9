"""Files with registry credentials in the format of Docker, Podman and Apptainer."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sifmake.errors import ConfigError
from sifmake.files import exists_quietly, write_atomic
from sifmake.json_text import parse_json
from sifmake.reference.reference import DOCKER_HUB, normal_host
from sifmake.registry.settings import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
"""The name of Docker Hub in Docker's files and helpers."""
_LARGEST_FILE = 4 << 20
_DOCKER_HUB_NAMES = frozenset({"registry-1.docker.io", "index.docker.io", "docker.io"})
_VERSION = re.compile(r"/v[12]/?\Z")


@dataclass(frozen=True)
class AuthFile:
    """The document of one file.

    Attributes:
        origin: Its path, or the name of the variable that contains it.
        document: The complete JSON object.
        entries: ``auths`` by normalised key.
        helpers: ``credHelpers`` by normalised host.
        store: ``credsStore``.
    """

    origin: str
    document: dict[str, Any] = field(default_factory=dict)
    entries: dict[str, Credentials] = field(default_factory=dict)
    helpers: dict[str, str] = field(default_factory=dict)
    store: str = ""


def read_auth_file(path: Path) -> AuthFile | None:
    """Return a file's credentials, or None if there is no readable file.

    Raises:
        ConfigError: It is damaged.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE)
    except OSError:
        return None
    return parse_auth_file(data, str(path))


def open_auth_file(path: Path) -> AuthFile:
    """Return a file in order to change it; an empty one if there is none.

    Raises:
        ConfigError: It is damaged or cannot be read, so changing it would lose its content.
    """
    file = read_auth_file(path)
    if file is None and exists_quietly(path):
        raise ConfigError(
            "the file with registry credentials cannot be read",
            where=str(path),
            hint="check its owner and mode, or use another file with --authfile",
        )
    return file or AuthFile(str(path))


def parse_auth_file(data: bytes, origin: str) -> AuthFile:
    """Return the credentials in a document.

    Raises:
        ConfigError: It is damaged.
    """
    try:
        document = parse_json(data or b"{}")
        auths, helpers = document.get("auths") or {}, document.get("credHelpers") or {}
        entries = {normal_key(key): _entry(value, origin) for key, value in auths.items() if value}
        named = {normal_key(host): str(helper) for host, helper in helpers.items()}
        return AuthFile(origin, document, entries, named, str(document.get("credsStore") or ""))
    except (ValueError, AttributeError, TypeError):
        raise ConfigError("the file with registry credentials is damaged", where=origin) from None


def normal_key(key: str) -> str:
    """Return ``host[:port][/path]`` for a key in any form that tools write."""
    key = _VERSION.sub("", key.partition("://")[2] or key).strip("/")
    host, slash, path = key.partition("/")
    host = DOCKER_HUB if host.lower() in _DOCKER_HUB_NAMES else normal_host(host)
    return f"{host}{slash}{path}"


def file_key(host: str) -> str:
    """Return the key under which to write a host."""
    return _DOCKER_HUB_KEY if host == DOCKER_HUB else host


def store_entry(path: Path, host: str, credentials: Credentials | None) -> bool:
    """Write credentials to a file, or remove them; return whether the file was changed. It gets mode 0600.

    Raises:
        ConfigError: The file is damaged or cannot be read.
        OSError: It cannot be written.
    """
    file = open_auth_file(path)
    document = dict(file.document)
    auths = {key: value for key, value in (document.get("auths") or {}).items() if normal_key(key) != host}
    changed = auths != (document.get("auths") or {})
    if credentials is not None:
        auths[file_key(host)] = {"auth": base64.b64encode(credentials.pair).decode()}
        changed = True
    if changed:
        document["auths"] = auths
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path.resolve(), json.dumps(document, indent="\t").encode() + b"\n", mode=0o600)
    return changed


def _entry(value: Mapping[str, Any], origin: str) -> Credentials:
    username, password = str(value.get("username") or ""), str(value.get("password") or "")
    if value.get("auth"):
        username, password = _decode(str(value["auth"]))
    identity, registry = str(value.get("identitytoken") or ""), str(value.get("registrytoken") or "")
    _check_sendable(username, password, identity, registry)
    return Credentials(username, password, identity_token=identity, registry_token=registry, origin=origin)


def _check_sendable(*secrets: str) -> None:
    """Check that secrets from JSON can be sent; the last ones are tokens, which are sent unchanged.

    Raises:
        ValueError: One has an incomplete character, or a token has a character that is not allowed in a header.
    """
    for secret in secrets:
        secret.encode(errors="surrogateescape")
    if not all(token.isascii() and (token.isprintable() or not token) for token in secrets[2:]):
        raise ValueError("token")


def _decode(text: str) -> tuple[str, str]:
    try:
        pair = base64.b64decode(text, validate=True).decode(errors="surrogateescape")
    except binascii.Error:
        raise ValueError("auth") from None
    username, colon, password = pair.partition(":")
    if not colon:
        raise ValueError("auth")
    return username, password.rstrip("\0")
