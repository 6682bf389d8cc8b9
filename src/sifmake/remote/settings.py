"""The settings of remote packs: plain data, fast to import."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sifmake.errors import BadReferenceError, ConfigError
from sifmake.reference.reference import Reference, is_host, normal_host, parse_reference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_REGISTRY = "oci://"
_WEB = ("https://", "http://")
_EXAMPLE = "write oci://HOST/REPOSITORY or https://HOST/PATH"
_PULL_REQUESTS = {
    "GITHUB_EVENT_NAME": ("pull_request", "pull_request_target"),
    "CI_PIPELINE_SOURCE": ("merge_request_event", "external_pull_request_event"),
    "BUILD_REASON": ("PullRequest",),
}
"""Variables of CI systems, and the values by which they say that a run belongs to a pull request."""


@dataclass(frozen=True)
class RemoteSettings:
    """One place with packs.

    Attributes:
        uri: ``oci://HOST/REPOSITORY``, or ``https://HOST/PATH`` of a store's folder.
        signed: Whether a signature by one of ``keys`` decides if a pack is used, in place of its content.
        keys: Files and folders with the public keys of those who may fill it.
        push: Whether builds upload the packs that they make.
        sign_key: The key that signs uploaded packs, as for :func:`~sifmake.signing.load_signer`; empty for none.
        foreign: Whether to use packs that another encoder made, so that the bytes differ from those of a local build.
    """

    uri: str
    signed: bool = False
    keys: tuple[Path, ...] = ()
    push: bool = False
    sign_key: str = ""
    foreign: bool = False

    @property
    def is_registry(self) -> bool:
        """Whether it is a registry, which can be written to."""
        return self.uri.startswith(_REGISTRY)

    @property
    def host(self) -> str:
        """``host[:port]``, for messages."""
        return self.uri.partition("://")[2].partition("/")[0]

    @property
    def repository(self) -> Reference:
        """The repository of a registry; the tag is empty.

        Raises:
            ConfigError: The address is malformed.
        """
        return _parse_repository(self.uri)


def check_remote(remote: RemoteSettings) -> RemoteSettings:
    """Return the settings if they make sense.

    Raises:
        ConfigError: They do not.
    """
    if remote.is_registry:
        _parse_repository(remote.uri)
    else:
        _check_address(remote.uri)
        if remote.push or remote.foreign:
            what = (
                f"{'push' if remote.push else 'foreign'} needs a registry, because a web server lists and takes nothing"
            )
            raise ConfigError(what, where=remote.uri, hint="write oci://HOST/REPOSITORY, or leave it out")
    if remote.signed and not remote.keys:
        raise ConfigError(
            "trust: signed needs the keys that sign packs", where=remote.uri, hint="name their files under keys:"
        )
    return remote


def convert_remote(given: Any, root: Path) -> RemoteSettings:
    """Return the settings from their value in ``sifmake.yaml``: an address, or a mapping.

    Args:
        given: The value, which follows the schema.
        root: Base of relative paths.

    Raises:
        ConfigError: They do not make sense.
    """
    from pathlib import Path

    from sifmake.files import exists_quietly

    if isinstance(given, str):
        return check_remote(RemoteSettings(given))
    key = str(given.get("sign-key", ""))
    path = root / Path(key).expanduser()
    return check_remote(
        RemoteSettings(
            uri=given["uri"],
            signed=given.get("trust", "verify") == "signed",
            keys=tuple(root / Path(text).expanduser() for text in given.get("keys", ())),
            push=given.get("push", False),
            sign_key=str(path) if key and ("/" in key or exists_quietly(path)) else key,
            foreign=given.get("foreign", False),
        )
    )


def with_addresses(configured: tuple[RemoteSettings, ...], addresses: str) -> tuple[RemoteSettings, ...]:
    """Return the configured places, then others by their addresses, separated by blanks.

    Raises:
        ConfigError: An address is malformed.
    """
    known = {remote.uri for remote in configured}
    more = dict.fromkeys(uri for uri in addresses.split() if uri not in known)
    return (*configured, *(check_remote(RemoteSettings(uri)) for uri in more))


def is_pull_request(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the CI run of a pull request, whose author nobody has to trust; such a run pushes no packs."""
    return any(environ.get(name, "") in values for name, values in _PULL_REQUESTS.items())


def _parse_repository(uri: str) -> Reference:
    host, _, repository = uri.removeprefix(_REGISTRY).rstrip("/").partition("/")
    if not is_host(host) or not repository or ":" in repository or "@" in repository:
        raise ConfigError("not the address of a repository", where=uri, hint=_EXAMPLE)
    try:
        path = parse_reference(f"registry.invalid/{repository}").repository
    except BadReferenceError as error:
        raise ConfigError(error.what, where=uri, hint=_EXAMPLE) from None
    return Reference(normal_host(host), path)


def _check_address(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        usable = uri.startswith(_WEB) and is_host(parts.netloc) and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("not the address of a folder with packs", where=uri, hint=_EXAMPLE)
