"""Logging in to registries: check credentials, and keep them where the tools of Docker and Apptainer find them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import ConfigError, RegistryError
from sifmake.reference.reference import Reference
from sifmake.registry import helper
from sifmake.registry.auth_file import AuthFile, file_key, normal_key, open_auth_file, store_entry
from sifmake.registry.credentials import named_file, read_told, search_path, usual_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sifmake.progress import Progress
    from sifmake.registry.settings import ClientSettings, Credentials


@dataclass(frozen=True)
class KnownRegistry:
    """A registry with credentials.

    Attributes:
        registry: Its host, or a repository in it.
        username: May be empty.
        origin: File or helper.
    """

    registry: str
    username: str
    origin: str


class Login:
    """Checks the credentials in the settings."""

    def __init__(self, key: str, settings: ClientSettings) -> None:
        host, _, repository = key.partition("/")
        self._reference = Reference(host, repository)
        self._settings = settings

    def check(self) -> None:
        """Ask the registry whether it accepts them; a message says if the server is not a registry.

        Raises:
            RegistryError: It rejects them, or does not answer.
        """
        from sifmake.registry.client import RegistryClient
        from sifmake.registry.error_responses import NotFoundError

        client = RegistryClient(self._reference, self._settings)
        try:
            client.ping()
        except NotFoundError:
            self._settings.progress.warning(
                f"{self._reference.registry} is not a registry; the password is kept unchecked, for https:// files"
            )
        except RegistryError as error:
            raise error.within("login") from None
        finally:
            client.close()


def keep(host: str, credentials: Credentials, environ: Mapping[str, str], auth_file: Path | None = None) -> str:
    """Keep credentials in the helper that the file names, else in the file itself; return where.

    Raises:
        ConfigError: The file is damaged or cannot be read, or the helper fails.
        OSError: The file cannot be written.
    """
    path = target_file(environ, auth_file)
    file = open_auth_file(path)
    name = file.helpers.get(host) or file.store
    if name:
        helper.store(name, file_key(host), credentials, environ)
        return f"docker-credential-{name}"
    store_entry(path, host, credentials)
    return str(path)


def forget(host: str, environ: Mapping[str, str], auth_file: Path | None = None) -> list[str]:
    """Remove a registry's credentials from all files and helpers; return where there were some.

    Raises:
        ConfigError: A file is damaged or cannot be read, or a helper is missing.
    """
    places = []
    for path in search_path(environ, auth_file):
        file = open_auth_file(path)
        name = file.helpers.get(host) or file.store
        if name and helper.erase(name, file_key(host), environ):
            places.append(f"docker-credential-{name}")
        if store_entry(path, host, None):
            places.append(str(path))
    return places


def known_registries(
    environ: Mapping[str, str], progress: Progress, auth_file: Path | None = None
) -> list[KnownRegistry]:
    """Return the registries that have credentials, without the secrets; warn about unreadable files."""
    rows: dict[str, KnownRegistry] = {}
    for file in read_told(environ, progress, auth_file):
        for row in _rows(file, environ):
            rows.setdefault(row.registry, row)
    return sorted(rows.values(), key=lambda row: row.registry)


def target_file(environ: Mapping[str, str], auth_file: Path | None = None) -> Path:
    """Return the file that a login writes: the named one, else the first usual one that exists, else Docker's.

    Apptainer stops reading Docker's file as soon as its own file exists, so that file is not created.

    Raises:
        ConfigError: There is no home directory for it.
    """
    named = named_file(environ, auth_file)
    if named is not None:
        return named
    usual = usual_files(environ)
    existing = [path for path in usual if path.exists()]
    if existing:
        return existing[0]
    if environ.get("DOCKER_CONFIG"):
        return Path(environ["DOCKER_CONFIG"]) / "config.json"
    if not environ.get("HOME"):
        raise ConfigError("there is no home directory for the credentials", hint="name a file with --authfile")
    return Path(environ["HOME"]) / ".docker" / "config.json"


def _rows(file: AuthFile, environ: Mapping[str, str]) -> Iterator[KnownRegistry]:
    for key, entry in file.entries.items():
        yield KnownRegistry(key, entry.username, file.origin)
    for host, name in file.helpers.items():
        yield KnownRegistry(host, "", f"docker-credential-{name}")
    if file.store:
        with suppress(ConfigError):
            for server, user in helper.servers(file.store, environ).items():
                yield KnownRegistry(normal_key(server), user, f"docker-credential-{file.store}")
