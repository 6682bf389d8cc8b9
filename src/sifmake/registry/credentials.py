"""Find the credentials for a registry: explicit ones, variables, files and helpers; the most specific entry wins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import ConfigError
from sifmake.files import exists_quietly
from sifmake.reference.reference import DOCKER_HUB
from sifmake.registry import helper
from sifmake.registry.auth_file import AuthFile, file_key, normal_key, open_auth_file, parse_auth_file, read_auth_file
from sifmake.registry.settings import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sifmake.progress import Progress

_OWN_PREFIX = "SIFMAKE_DOCKER_"
_PEERS_PREFIXES = ("APPTAINER_DOCKER_", "SINGULARITY_DOCKER_", "DOCKER_")
_REGISTRY_VARIABLE = "SIFMAKE_DOCKER_REGISTRY"
"""The registry, or a part of it (``HOST/PATH``), for which user and password in variables are used."""
_FILE_VARIABLES = ("SIFMAKE_AUTH_FILE", "APPTAINER_AUTH_FILE", "SINGULARITY_AUTHFILE", "REGISTRY_AUTH_FILE")
_CONTENT_VARIABLE = "DOCKER_AUTH_CONFIG"


class CredentialStore:
    """All credentials from the settings and the environment; files are read once, on first use.

    Each entry of a file names its registry. Variables do not, so they are bound to one registry; otherwise anyone who
    can change a ``from:`` or a mirror could have them sent anywhere.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        progress: Progress,
        *,
        auth_file: Path | None = None,
        explicit: Credentials | None = None,
        typed: bool = True,
    ) -> None:
        """Set up the sources; nothing is read yet.

        Args:
            environ: Variables.
            progress: Receives warnings.
            auth_file: Read instead of the usual files.
            explicit: For the registry of the reference; they take precedence over all others.
            typed: Whether a user has typed the name of the registry; otherwise it comes from a file of a project.
        """
        self._typed = typed
        self._environ = environ
        self._progress = progress
        self._auth_file = auth_file
        self._explicit = explicit
        self._files: list[AuthFile] | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for stores that find the same credentials."""
        return id(self._environ), self._auth_file, self._explicit, self._typed

    def find(self, host: str, repository: str, *, named: bool = True) -> Credentials | None:
        """Return the credentials for a repository of a host (``docker.io`` for Docker Hub), or None.

        Args:
            host: The host to which the request goes.
            repository: Name of the repository on that host.
            named: Whether the reference names this host; a mirror only gets credentials from files.

        Raises:
            ConfigError: A file is damaged.
        """
        if not named:
            return self._in_files(host, repository)
        if self._explicit is not None:
            return self._explicit
        return _from_variables(self._environ, host, repository, typed=self._typed) or self._in_files(host, repository)

    def _in_files(self, host: str, repository: str) -> Credentials | None:
        files = self._read()
        keys = list(_keys(host, repository))
        for key in keys:
            for file in files:
                if key == host and (found := self._ask_helper(file, host)):
                    return found
                if key in file.entries:
                    return file.entries[key]
        return None

    def _read(self) -> list[AuthFile]:
        if self._files is None:
            self._files = read_told(self._environ, self._progress, self._auth_file)
        return self._files

    def _ask_helper(self, file: AuthFile, host: str) -> Credentials | None:
        name = file.helpers.get(host) or file.store
        if not name:
            return None
        try:
            return helper.get(name, file_key(host), self._environ)
        except ConfigError as error:
            self._progress.warning(f"{error}; continuing without them")
            return None


def _from_variables(
    environ: Mapping[str, str], host: str, repository: str, *, typed: bool = True
) -> Credentials | None:
    """Return the credentials for a repository from variables, or None.

    ``SIFMAKE_DOCKER_USERNAME`` and ``_PASSWORD`` are for the registry in ``SIFMAKE_DOCKER_REGISTRY``, by default Docker
    Hub. The variables of Apptainer and SingularityCE are for it too and, as with these programs, for any registry that
    a user has typed.
    """
    bound = normal_key(environ.get(_REGISTRY_VARIABLE) or DOCKER_HUB) in _keys(host, repository)
    prefixes = [_OWN_PREFIX] if bound else []
    prefixes += _PEERS_PREFIXES if bound or typed else ()
    return next((found for prefix in prefixes if (found := _pair(environ, prefix))), None)


def _pair(environ: Mapping[str, str], prefix: str) -> Credentials | None:
    username, password = environ.get(f"{prefix}USERNAME", ""), environ.get(f"{prefix}PASSWORD", "")
    return Credentials(username, password, origin=f"{prefix}USERNAME") if username and password else None


def _read_all(environ: Mapping[str, str], auth_file: Path | None = None) -> Iterator[AuthFile]:
    """Yield the files in the order of reading: only the named file if there is one, else the variable and usual files.

    Raises:
        ConfigError: A file is damaged, or ``auth_file`` is missing or cannot be read.
    """
    if auth_file is not None and not exists_quietly(auth_file):
        raise ConfigError("the file with registry credentials does not exist", where=str(auth_file))
    if auth_file is not None:
        yield open_auth_file(auth_file)
        return
    if named_file(environ) is None and environ.get(_CONTENT_VARIABLE):
        yield parse_auth_file(environ[_CONTENT_VARIABLE].encode(errors="surrogateescape"), _CONTENT_VARIABLE)
    for path in search_path(environ):
        found = read_auth_file(path)
        if found is not None:
            yield found


def read_told(environ: Mapping[str, str], progress: Progress, auth_file: Path | None = None) -> list[AuthFile]:
    """Return the files of :func:`_read_all`, and warn about files that could not be read.

    Raises:
        ConfigError: As for :func:`_read_all`.
    """
    files = list(_read_all(environ, auth_file))
    read, named = {file.origin for file in files}, named_file(environ, auth_file)
    for path in search_path(environ, auth_file):
        if str(path) not in read and exists_quietly(path):
            progress.warning(f"{path}: the file with registry credentials cannot be read; continuing without it")
        elif str(path) not in read and path == named:
            progress.warning(f"{path}: the file with registry credentials does not exist; continuing without it")
    return files


def search_path(environ: Mapping[str, str], auth_file: Path | None = None) -> list[Path]:
    """Return the files to read: only the named one if there is one, else the usual ones, best first."""
    named = named_file(environ, auth_file)
    return [named] if named is not None else usual_files(environ)


def named_file(environ: Mapping[str, str], auth_file: Path | None = None) -> Path | None:
    """Return the file that the settings or the environment name, or None."""
    if auth_file is not None:
        return auth_file
    return next((Path(environ[name]) for name in _FILE_VARIABLES if environ.get(name)), None)


def usual_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files in which Docker, Apptainer and Podman keep credentials, best first."""
    home = Path(environ["HOME"]) if environ.get("HOME") else None
    paths = [Path(environ["DOCKER_CONFIG"]) / "config.json"] if environ.get("DOCKER_CONFIG") else []
    if environ.get("APPTAINER_CONFIGDIR"):
        paths.append(Path(environ["APPTAINER_CONFIGDIR"]) / "docker-config.json")
    elif home:
        paths.append(home / ".apptainer" / "docker-config.json")
    if environ.get("XDG_RUNTIME_DIR"):
        paths.append(Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    if environ.get("XDG_CONFIG_HOME"):
        paths.append(Path(environ["XDG_CONFIG_HOME"]) / "containers" / "auth.json")
    elif home:
        paths.append(home / ".config" / "containers" / "auth.json")
    if home and not environ.get("DOCKER_CONFIG"):
        paths.append(home / ".docker" / "config.json")
    if home:
        paths.append(home / ".singularity" / "docker-config.json")
    return paths


def _keys(host: str, repository: str) -> Iterator[str]:
    """Yield the repository, its parents and the host, most specific first."""
    path = repository
    while path:
        yield f"{host}/{path}"
        path = path.rpartition("/")[0]
    yield host
