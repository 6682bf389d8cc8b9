"""Debian's docker-registry on a free loopback port: plain, with TLS from a private CA, with htpasswd, with tokens.

with running(tmp_path) as registry:
    registry.push(layout, "group/name:tag")           # by skopeo
    open_source(f"docker://{registry.host}/group/name:tag", ...)
    registry.stop(); registry.start()                 # same port, same content
    registry.requests("GET", "/blobs/")               # from the access log
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD = "alice", "s3cret:with colon"
ISSUER, SERVICE = "test-issuer", "test-registry"
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sifmake test CA")])
MISSING = [name for name in ("docker-registry", "skopeo", "htpasswd") if shutil.which(name) is None]


needs_registry = [
    pytest.mark.registry,
    pytest.mark.skipif(bool(MISSING), reason=f"missing on this machine: {', '.join(MISSING)}"),
]
"""``pytestmark = needs_registry`` in a module that starts docker-registry; skipped where a tool is missing."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Authority:
    """A private CA that makes certificates for localhost."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.certificate = self._sign(NAME, self.key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Write certificate and key for localhost and return their paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), x509.BasicConstraints(ca=False, path_length=None))
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(private_pem(key))
        return paths

    def _sign(self, subject: x509.Name, public_key, constraints: x509.BasicConstraints) -> x509.Certificate:
        now = datetime.now(UTC)
        addresses = [x509.DNSName("localhost"), x509.DNSName("registry.example")]
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=bool(constraints.ca),
            crl_sign=bool(constraints.ca),
            encipher_only=False,
            decipher_only=False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(NAME)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if not constraints.ca:
            builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def private_pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


class DockerRegistry:
    """A docker-registry process.

    Attributes:
        host: ``localhost:PORT``.
        authority: The CA where TLS is on, else None.
    """

    def __init__(
        self, folder: Path, *, tls: bool = False, auth: str = "", client_ca: bool = False, delete: bool = True
    ) -> None:
        """Take notes.

        Args:
            folder: For storage, configuration and log.
            tls: Whether it speaks TLS, by a certificate of a private CA.
            auth: ``htpasswd``, ``token`` or nothing.
            client_ca: Whether clients must show a certificate of the same CA.
            delete: Whether manifests may be deleted.
        """
        self._folder = folder
        self._port = free_port()
        self.host = f"localhost:{self._port}"
        self.authority = Authority(folder) if tls else None
        self._auth = auth
        self._client_ca = client_ca
        self._delete = delete
        self._process: subprocess.Popen[bytes] | None = None
        self.tokens: TokenService | None = None
        self._config = folder / "config.yml"
        self.log = folder / "registry.log"

    def start(self) -> None:
        self._config.write_text(json.dumps(self._configuration()))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(self._config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
            )
        self._wait()

    def stop(self) -> None:
        """Kill the process immediately, as a crash does."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        if self.tokens:
            self.tokens.close()

    def push(self, source: str, name: str, *options: str) -> None:
        """Copy an image (``oci:DIR:TAG``, ...) to ``name`` by skopeo."""
        credentials = ["--dest-creds", f"{USER}:{PASSWORD}"] if self._auth else []
        subprocess.run(
            [
                "skopeo",
                "copy",
                "--quiet",
                "--dest-tls-verify=false",
                *credentials,
                *options,
                source,
                f"docker://{self.host}/{name}",
            ],
            check=True,
            capture_output=True,
        )

    def blob_file(self, digest: str) -> Path:
        """Return the file in which it keeps a blob."""
        hexadecimal = digest.partition(":")[2]
        return self._folder / "storage/docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"

    def requests(self, method: str, part: str) -> list[str]:
        """Return the paths with ``part`` in them that were asked for by a method, from the access log."""
        pattern = re.compile(rf'"{method} (\S*{re.escape(part)}\S*) HTTP')
        return pattern.findall(self.log.read_text(errors="replace"))

    def _configuration(self) -> dict:
        http: dict = {"addr": f"127.0.0.1:{self._port}", "secret": "test"}
        if self.authority:
            certificate, key = self.authority.issue("registry")
            http["tls"] = {"certificate": str(certificate), "key": str(key)}
            if self._client_ca:
                http["tls"]["clientcas"] = [str(self.authority.ca_file)]
        storage = {"filesystem": {"rootdirectory": str(self._folder / "storage")}, "delete": {"enabled": self._delete}}
        document = {"version": "0.1", "log": {"level": "warn"}, "storage": storage, "http": http}
        if self._auth == "htpasswd":
            path = self._folder / "htpasswd"
            line = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], check=True, capture_output=True).stdout
            path.write_bytes(line)
            document["auth"] = {"htpasswd": {"realm": "test", "path": str(path)}}
        if self._auth == "token":
            self.tokens = self.tokens or TokenService(self._folder)
            document["auth"] = {"token": self.tokens.configuration()}
        return document

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return
            if self._process.poll() is not None:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.02)
        raise RuntimeError("docker-registry does not listen")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TokenService:
    """Gives out the signed tokens that docker-registry checks (Docker's token specification).

    Attributes:
        asked: The query of each request, parsed.
        life: Seconds that tokens live.
        wants_login: Whether nobody gets a token without the password.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self.life = 300
        self.wants_login = True
        self._key = rsa.generate_private_key(65537, 2048)
        self._certificate = self_signed(self._key)
        self._bundle = folder / "token-ca.pem"
        self._bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def configuration(self) -> dict:
        port = self._server.server_address[1]
        return {
            "realm": f"http://127.0.0.1:{port}/token",
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(self._bundle),
        }

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query)
        self.asked.append(query)
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.wants_login and handler.headers.get("Authorization") != expected:
            handler.send_response(401)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        body = json.dumps({"token": self.token(query.get("scope", [])), "expires_in": self.life}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def token(self, scopes: list[str]) -> str:
        now = int(time.time())
        access = [
            {"type": kind, "name": name, "actions": actions.split(",")}
            for kind, name, actions in (scope.split(":") for scope in scopes)
        ]
        chain = [base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()]
        claims = {"iss": ISSUER, "aud": SERVICE, "sub": USER, "iat": now, "nbf": now - 5, "exp": now + self.life}
        parts = [{"alg": "RS256", "typ": "JWT", "x5c": chain}, {**claims, "jti": "1", "access": access}]
        signed = b".".join(base64url(json.dumps(part).encode()) for part in parts)
        signature = self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return (signed + b"." + base64url(signature)).decode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@contextlib.contextmanager
def running(folder: Path, **options) -> Iterator[DockerRegistry]:
    """Run a registry; see :class:`DockerRegistry` for the options."""
    folder.mkdir(parents=True, exist_ok=True)
    with DockerRegistry(folder, **options) as registry:
        yield registry
