"""Credentials for registries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.api.common import StrPath, as_path
from sifmake.errors import UsageError
from sifmake.progress import Progress, Silent

if TYPE_CHECKING:
    from sifmake.registry.login import KnownRegistry


def login(
    registry: str,
    username: str,
    password: str,
    *,
    plain_http: bool = False,
    auth_file: StrPath | None = None,
    root: StrPath = ".",
    progress: Progress | None = None,
) -> str:
    """Check credentials with a registry and keep them, as ``sifmake registry login`` does.

    Args:
        registry: Its host, such as ``quay.io`` or ``docker://quay.io``; ``docker.io`` for Docker Hub.
        username: The user name.
        password: Password or token.
        plain_http: Whether to use plain HTTP for the registry.
        auth_file: The file with credentials, instead of the usual one.
        root: Folder whose ``sifmake.yaml`` sets how to reach registries.
        progress: Gets warnings.

    Returns:
        Where they are kept: a file, or a credential helper.

    Raises:
        UsageError: The name is not that of a registry, or the password is empty.
        RegistryError: The registry rejects the credentials, or does not answer.
        ConfigError: The file cannot be used, or the helper fails.
    """
    from sifmake.builder.builder import RegistryAccess, call_settings
    from sifmake.project.project import Project
    from sifmake.registry import Credentials
    from sifmake.registry.login import Login, keep
    from sifmake.registry.settings import COMMAND_LINE
    from sifmake.sources.registry_image import client_settings

    host, told = host_of(registry), progress or Silent()
    if not password:
        raise UsageError("the password is empty")
    credentials = Credentials(username, password, origin=COMMAND_LINE)
    options = Project(Path(root), progress=told).configuration
    settings = call_settings(options, told, RegistryAccess(plain_http, credentials=credentials))
    Login(host, client_settings(settings)).check()
    return keep(host, credentials, os.environ, as_path(auth_file))


def logout(registry: str, *, auth_file: StrPath | None = None) -> tuple[str, ...]:
    """Remove the credentials for a registry, as ``sifmake registry logout`` does.

    Args:
        registry: See :func:`login`.
        auth_file: The file with credentials, instead of the usual ones.

    Returns:
        The files and helpers from which credentials were removed.

    Raises:
        UsageError: The name is not that of a registry.
        ConfigError: A file is damaged or cannot be read, or a helper is missing.
    """
    from sifmake.registry.login import forget

    return tuple(forget(host_of(registry), os.environ, as_path(auth_file)))


def logins(*, auth_file: StrPath | None = None, progress: Progress | None = None) -> tuple[KnownRegistry, ...]:
    """Return the registries that have credentials, without the secrets, as ``sifmake registry list`` shows them.

    Args:
        auth_file: The file with credentials, instead of the usual ones.
        progress: Gets a warning for each file that cannot be read.
    """
    from sifmake.registry.login import known_registries

    return tuple(known_registries(os.environ, progress or Silent(), as_path(auth_file)))


def host_of(registry: str) -> str:
    """Return the name under which credentials for a registry are kept.

    Raises:
        UsageError: The name is not that of a registry.
    """
    from sifmake.reference.reference import is_host
    from sifmake.registry.auth_file import normal_key

    host = normal_key(registry)
    if not is_host(host.partition("/")[0]):
        hint = "write its host name, for example quay.io"
        raise UsageError("not the name of a registry", where=registry or "''", hint=hint)
    return host
