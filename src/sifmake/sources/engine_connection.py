"""Find the Docker or Podman engine by the settings of their command lines, and connect to its API."""

from __future__ import annotations

import hashlib
import http.client
import os
import shlex
import socket
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from sifmake.errors import SourceError
from sifmake.json_text import parse_json
from sifmake.withheld import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO
    from urllib.parse import SplitResult

_HOST_VARIABLES = ("SIFMAKE_DOCKER_HOST", "APPTAINER_DOCKER_HOST", "SINGULARITY_DOCKER_HOST", "DOCKER_HOST")
SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
_USER_SOCKETS = ("docker.sock", "podman/podman.sock")
"""Sockets of rootless engines under ``XDG_RUNTIME_DIR``."""
PLAIN_PORT, TLS_PORT = 2375, 2376
_CONNECT_TIMEOUT = 30.0
_ANSWER_TIMEOUT = 600.0
"""Seconds; an engine packs a large image before it sends the first byte."""
END_TIMEOUT = 2.0
"""Seconds that ``ssh`` has to end by itself, and again after SIGTERM."""
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True)
class Engine:
    """A Docker or Podman engine.

    Attributes:
        name: Its address for messages, without secrets.
        connect: Returns a connection, which is opened by its first request. Errors are ``OSError`` and
            ``http.client.HTTPException``. Close it after the body of the last answer.
    """

    name: str
    connect: Callable[[], http.client.HTTPConnection]


def find_engine(environ: Mapping[str, str]) -> Engine:
    """Return the engine that ``docker`` would use, else the one of ``podman``, without sending anything.

    In this order: ``DOCKER_HOST`` (before it those of sifmake and Apptainer), ``DOCKER_CONTEXT``, ``CONTAINER_HOST``,
    the current context of Docker's ``config.json``, an existing socket.

    Raises:
        SourceError: An address cannot be used, or there is no such context.
    """
    given = next((environ[name] for name in _HOST_VARIABLES if environ.get(name)), "")
    if given:
        return _at(given, environ, _tls_by_variables(environ))
    context = environ.get("DOCKER_CONTEXT", "")
    if not context and environ.get("CONTAINER_HOST"):
        return _at(environ["CONTAINER_HOST"], environ, None, podman=True)
    context = context or _current_context(environ)
    if context and context != "default":
        return _of_context(context, environ)
    return _unix(_socket(environ))


@dataclass(frozen=True)
class _Tls:
    """Files of a TLS connection; missing files are not used.

    Attributes:
        folder: Contains ``ca.pem``, ``cert.pem`` and ``key.pem``.
        verify: Whether the engine's certificate is checked.
    """

    folder: Path
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority, certificate = self.folder / "ca.pem", self.folder / "cert.pem"
        if not self.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif authority.exists():
            context.load_verify_locations(authority)
        else:
            context.load_default_certs()
        if certificate.exists():
            context.load_cert_chain(certificate, self.folder / "key.pem")
        return context


def _at(address: str, environ: Mapping[str, str], tls: _Tls | None, *, podman: bool = False) -> Engine:
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise SourceError(f"invalid engine address ({error})", hint="check DOCKER_HOST") from None
    if parts.scheme == "unix" and parts.path:
        return _unix(parts.path)
    if parts.scheme in {"tcp", "http", "https"} and parts.hostname:
        if parts.scheme == "https" and tls is None:
            tls = _Tls(_certificates(environ))
        return _tcp(parts, tls)
    if parts.scheme == "ssh" and parts.hostname:
        return _ssh(parts, environ.get("CONTAINER_SSHKEY", "") if podman else "", podman=podman)
    raise SourceError(
        f"cannot connect to an engine at {_without_password(parts)}",
        hint="use unix://, tcp:// or ssh://, or docker save and docker-archive:",
    )


def _without_password(parts: SplitResult) -> str:
    user, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}").geturl()


def _unix(path: str) -> Engine:
    return Engine(f"unix://{path}", lambda: _UnixConnection(path))


def _tcp(parts: SplitResult, tls: _Tls | None) -> Engine:
    host, port = parts.hostname or "", _port(parts) or (TLS_PORT if tls else PLAIN_PORT)
    name = f"tcp://{f'[{host}]' if ':' in host else host}:{port}"
    if tls is None:
        return Engine(name, lambda: _TcpConnection(host, port))
    return Engine(name, lambda: _TlsConnection(host, port, tls))


def _ssh(parts: SplitResult, key: str, *, podman: bool) -> Engine:
    """Return an engine behind ``ssh``, through ``dial-stdio`` on the other side, as ``docker`` and ``podman`` do."""
    if parts.password:
        raise SourceError("the engine address contains a password", hint="use a key and ssh-agent")
    options = ["-o", f"ConnectTimeout={_CONNECT_TIMEOUT:.0f}", "-T"]
    options += ["-l", unquote(parts.username)] if parts.username else []
    options += ["-p", str(_port(parts))] if _port(parts) else []
    options += ["-i", key] if key else []
    place = f"unix://{parts.path}" if parts.path.strip("/") else ""
    program = ["podman", "--url", place] if podman else ["docker", "--host", place]
    remote = [*(program if place else program[:1]), "system", "dial-stdio"]
    words = ["ssh", *options, "--", parts.hostname or "", shlex.join(remote)]
    return Engine(parts.geturl(), lambda: _SshConnection(words))


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        raise SourceError(f"the port of {_without_password(parts)} is not a number") from None


def _tls_by_variables(environ: Mapping[str, str]) -> _Tls | None:
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    return _Tls(_certificates(environ), verify) if verify or environ.get("DOCKER_TLS") else None


def _certificates(environ: Mapping[str, str]) -> Path:
    return Path(environ["DOCKER_CERT_PATH"]) if environ.get("DOCKER_CERT_PATH") else _docker_folder(environ)


def _docker_folder(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/")) / ".docker")


def _current_context(environ: Mapping[str, str]) -> str:
    return str(_read_json(_docker_folder(environ) / "config.json").get("currentContext") or "")


def _of_context(name: str, environ: Mapping[str, str]) -> Engine:
    folder = _docker_folder(environ) / "contexts"
    digest = hashlib.sha256(name.encode()).hexdigest()
    try:
        endpoint = _read_json(folder / "meta" / digest / "meta.json")["Endpoints"]["docker"]
        address, unchecked = str(endpoint["Host"]), bool(endpoint.get("SkipTLSVerify"))
    except (KeyError, TypeError, AttributeError):
        raise SourceError(f"there is no Docker context {name!r}", hint="run `docker context ls` to list them") from None
    certificates = folder / "tls" / digest / "docker"
    tls = _Tls(certificates, not unchecked) if certificates.is_dir() or unchecked else None
    return _at(address, environ, tls)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            document = parse_json(file.read(_LARGEST_FILE))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _socket(environ: Mapping[str, str]) -> str:
    """Return the first usable socket, else the first existing one, else Docker's."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    own = [f"{runtime}/{name}" for name in _USER_SOCKETS] if runtime else []
    docker, podman = [*SOCKETS[:1], *own[:1]], [*SOCKETS[1:], *own[1:]]
    there = [path for path in [*docker, *podman] if Path(path).is_socket()]
    usable = [path for path in there if os.access(path, os.W_OK)]
    return next(iter([*usable, *there, SOCKETS[0]]))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_ANSWER_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _TcpConnection(http.client.HTTPConnection):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, timeout=_CONNECT_TIMEOUT)

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_ANSWER_TIMEOUT)


class _TlsConnection(_TcpConnection):
    def __init__(self, host: str, port: int, tls: _Tls) -> None:
        super().__init__(host, port)
        self._tls = tls

    def connect(self) -> None:
        super().connect()
        self.sock = self._tls.context().wrap_socket(self.sock, server_hostname=self.host)


class _SshConnection(http.client.HTTPConnection):
    """HTTP over standard input and output of a process; the connection ends with the process."""

    def __init__(self, words: list[str]) -> None:
        super().__init__("localhost", timeout=_ANSWER_TIMEOUT)
        self._words = words
        self._stderr: BinaryIO | None = None
        self._complaint = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._answering = False

    def connect(self) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(self.timeout)
        with theirs:
            ends = theirs.fileno()
            self._process = subprocess.Popen(
                self._words, stdin=ends, stdout=ends, stderr=self._stderr, env=without_secrets(os.environ)
            )

    def getresponse(self) -> http.client.HTTPResponse:
        """Return the answer; if there is none, raise an error with the message of ``ssh``."""
        self._answering = True
        try:
            return super().getresponse()
        except (OSError, http.client.HTTPException) as error:
            self._answering = False
            self.close()
            raise ConnectionError(self._complaint or str(error)) from None
        finally:
            self._answering = False

    def close(self) -> None:
        """Close the connection; the library also calls this while an answer still needs ``ssh``."""
        super().close()
        if self._answering:
            return
        if self._process is not None:
            _end(self._process)
            self._process = None
        if self._stderr is not None:
            self._complaint = _last_line(self._stderr)
            self._stderr.close()
            self._stderr = None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process whose input was closed; end it if it does not end by itself."""
    for end in (process.terminate, process.kill):
        try:
            process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            end()
    process.wait()


def _last_line(file: BinaryIO) -> str:
    file.seek(0)
    lines = file.read(_LARGEST_FILE).decode(errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
