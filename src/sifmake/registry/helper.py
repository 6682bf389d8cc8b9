"""Docker's credential helpers: programs ``docker-credential-NAME`` that keep secrets, with JSON on stdin and stdout."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

from sifmake.errors import ConfigError
from sifmake.json_text import parse_json
from sifmake.registry.settings import Credentials
from sifmake.withheld import without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT = 60.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_TOKEN_USER = "<token>"  # noqa: S105
_NOT_FOUND = "credentials not found"


def get(name: str, server: str, environ: Mapping[str, str]) -> Credentials | None:
    """Ask a helper for a server's credentials; None if it has none.

    Raises:
        ConfigError: The helper is missing or fails.
    """
    result = _run(name, "get", server, environ)
    if result.returncode != 0:
        if _NOT_FOUND in result.stdout + result.stderr:
            return None
        raise _failed(name, result.stderr or result.stdout)
    try:
        document = parse_json(result.stdout)
        username, secret = str(document.get("Username") or ""), str(document.get("Secret") or "")
    except (ValueError, AttributeError):
        raise _failed(name, "its answer is not a JSON object") from None
    if not _is_text(username + secret):
        raise _failed(name, "its answer has an incomplete character")
    origin = f"docker-credential-{name}"
    if username == _TOKEN_USER:
        return Credentials(identity_token=secret, origin=origin)
    return Credentials(username, secret, origin=origin) if username or secret else None


def store(name: str, server: str, credentials: Credentials, environ: Mapping[str, str]) -> None:
    """Pass a server's credentials to a helper.

    Raises:
        ConfigError: The helper is missing or fails.
    """
    if not _is_text(credentials.username + credentials.password):
        raise _failed(name, "it cannot store a password that is not UTF-8")
    secret = {"ServerURL": server, "Username": credentials.username, "Secret": credentials.password}
    result = _run(name, "store", json.dumps(secret), environ)
    if result.returncode != 0:
        raise _failed(name, result.stderr or result.stdout)


def erase(name: str, server: str, environ: Mapping[str, str]) -> bool:
    """Remove a server's credentials from a helper; return whether it had any.

    Raises:
        ConfigError: The helper is missing.
    """
    return _run(name, "erase", server, environ).returncode == 0


def servers(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the servers in a helper, with their users.

    Raises:
        ConfigError: The helper is missing or fails.
    """
    result = _run(name, "list", "", environ)
    try:
        return {str(server): str(user) for server, user in parse_json(result.stdout or "{}").items()}
    except (ValueError, AttributeError):
        raise _failed(name, result.stderr or result.stdout) from None


def _is_text(text: str) -> bool:
    """Tell whether a text can be encoded in UTF-8, without surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _run(name: str, verb: str, text: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    if not _NAME.match(name):
        raise ConfigError(f"{name!r} is not the name of a credential helper")
    from shutil import which

    program = which(f"docker-credential-{name}", path=environ.get("PATH"))
    if program is None:
        raise _failed(name, "it is not on PATH")
    try:
        return subprocess.run(
            [program, verb],
            input=text,
            env=without_secrets(environ),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise _failed(name, type(error).__name__) from None


def _failed(name: str, why: str) -> ConfigError:
    lines = why.strip().splitlines()
    return ConfigError(
        f"the credential helper docker-credential-{name} failed: {lines[0][:200] if lines else 'silently'}"
    )
