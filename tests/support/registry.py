"""A registry inside the test process that can be told to misbehave, and remembers what it was asked.

    with FakeRegistry() as registry:
        image = registry.blobs.image([raw])                       # support.images.Blobs
        registry.tag("group/name", "1.0", image)
        registry.on("GET", "/blobs/", Answer(503), times=2)       # the first two, then as usual
        registry.on("GET", digest, lambda request: request.served(cut=100), times=1)
        pull(f"docker://{registry.host}/group/name:1.0")
        assert registry.count("HEAD", "/manifests/") == 1

Rules are asked in order; the first that matches and is not used up answers. ``request.served()`` is the usual answer,
to be changed.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from support.images import Blobs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHUNK = 64 * 1024
_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<what>[^/?]+)")


@dataclass(frozen=True)
class Answer:
    """What the server sends.

    Attributes:
        status: HTTP status.
        body: Bytes.
        headers: Further headers; None removes one that would be there.
        cut: Close the connection after so many bytes of the body.
        stall: Seconds to wait after ``cut`` bytes instead of closing.
        trickle: Send one byte each so many seconds.
        chunked: Send no Content-Length but close the connection at the end.
        before: Called before anything is sent.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str | None] = field(default_factory=dict)
    cut: int | None = None
    stall: float = 0
    trickle: float = 0
    unsized: bool = False
    before: Callable[[], None] | None = None


@dataclass(frozen=True)
class Request:
    """What was asked.

    Attributes:
        method: HTTP method.
        path: With query.
        headers: By lower-case name.
        body: Of a POST.
        registry: Who was asked.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    registry: FakeRegistry

    def served(self, **changes: Any) -> Answer:
        """Return what a good registry answers, with changes."""
        return replace(self.registry.serve(self), **changes)


@dataclass
class _Rule:
    method: str
    part: str
    action: Answer | Callable[[Request], Answer | None]
    left: float


class Link:
    """A link with a latency and a rate that all connections share."""

    def __init__(self, latency: float, rate: float) -> None:
        self.latency = latency
        self._rate = rate
        self._lock = threading.Lock()
        self._free = 0.0

    def send(self, count: int) -> None:
        """Wait until that many bytes have passed over the link."""
        with self._lock:
            self._free = max(self._free, time.monotonic()) + count / self._rate
            until = self._free
        time.sleep(max(0.0, until - time.monotonic()))


class FakeRegistry:
    """See the module.

    Attributes:
        host: ``127.0.0.1:PORT``, or of another address of this machine.
        blobs: Content; add to it.
        log: All requests so far.
        link: Set it to shape the traffic.
        connections: How many were made.
    """

    def __init__(self, address: str = "127.0.0.1", *, tls: tuple[Path, Path] | None = None) -> None:
        """Begin to serve; ``tls`` are files with a certificate and its key."""
        self.blobs = Blobs()
        self.log: list[Request] = []
        self.link: Link | None = None
        self._tags: dict[tuple[str, str], dict[str, Any]] = {}
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._server = _Server((address, 0), self, tls)
        self.connections = 0
        self.host = f"{address}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def tag(self, repository: str, tag: str, descriptor: dict[str, Any]) -> None:
        """Let a tag stand for a manifest or index."""
        self._tags[repository, tag] = descriptor

    def has_tag(self, repository: str, tag: str) -> bool:
        """Tell whether a tag stands for anything."""
        return (repository, tag) in self._tags

    def serve_digest(self, repository: str, tag: str) -> str:
        """Return what a tag stands for."""
        return str(self._tags[repository, tag]["digest"])

    def on(
        self,
        method: str,
        part: str,
        action: Answer | Callable[[Request], Answer | None],
        *,
        times: float = float("inf"),
        first: bool = False,
    ) -> None:
        """Answer requests whose path has ``part`` in it in another way; an action that returns None passes.

        A rule is asked after the earlier ones, or before all of them if it is ``first``.
        """
        self._rules.insert(0 if first else len(self._rules), _Rule(method, part, action, times))

    def count(self, method: str, part: str = "") -> int:
        """Return how many such requests there were."""
        return len(self.asked(method, part))

    def asked(self, method: str, part: str = "") -> list[Request]:
        """Return such requests."""
        return [request for request in self.log if request.method == method and part in request.path]

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request."""
        with self._lock:
            self.log.append(request)
        for rule in self._rules:
            if rule.method == request.method and rule.part in request.path:
                with self._lock:
                    if rule.left <= 0:
                        continue
                    rule.left -= 1
                answer = rule.action if isinstance(rule.action, Answer) else rule.action(request)
                if answer is not None:
                    return answer
        return self.serve(request)

    def serve(self, request: Request) -> Answer:
        """Return what a good registry answers."""
        if request.path in ("/v2/", "/v2"):
            return Answer(200, b"{}")
        match = _PATH.match(request.path)
        if not match or request.method not in ("GET", "HEAD"):
            return error(404, "UNSUPPORTED")
        if match["kind"] == "manifests":
            return self._manifest(match["name"], match["what"], request)
        return self._blob(match["what"], request)

    def _manifest(self, name: str, what: str, request: Request) -> Answer:
        digest = what if ":" in what else self._tags.get((name, what), {}).get("digest", "")
        if digest not in self.blobs.data or (what == digest and not self._is_manifest(digest)):
            return error(404, "MANIFEST_UNKNOWN")
        media_type = json.loads(self.blobs[digest]).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        if media_type not in request.headers.get("accept", ""):
            return error(404, "MANIFEST_UNKNOWN")
        headers: dict[str, str | None] = {"Docker-Content-Digest": digest, "Content-Type": media_type}
        return Answer(200, self.blobs[digest], headers)

    def _is_manifest(self, digest: str) -> bool:
        try:
            return "schemaVersion" in json.loads(self.blobs[digest])
        except ValueError:
            return False

    def _blob(self, digest: str, request: Request) -> Answer:
        data = self.blobs.data.get(digest)
        if data is None:
            return error(404, "BLOB_UNKNOWN")
        headers: dict[str, str | None] = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if match:
            start, part = int(match[1]), data[int(match[1]) : int(match[2]) + 1 if match[2] else None]
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
            return Answer(206, part, headers)
        return Answer(200, data, headers)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def error(status: int, code: str, **headers: str) -> Answer:
    """Return an error in the form of the distribution spec."""
    body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
    return Answer(status, body, {"Content-Type": "application/json", **headers})


class TokenAuth:
    """Makes a registry ask for tokens, and gives them out at ``/token``.

    Attributes:
        issued: Tokens so far.
        uses: Requests that a token is good for.
        user: ``(name, password)`` that alone gets tokens; None for anybody.
        challenge: Of the 401; ``REALM`` stands for the address of the token service.
        queries: Paths with query that tokens were asked by.
    """

    def __init__(
        self, registry: FakeRegistry, *, uses: float = float("inf"), challenge: str = "", user: str = ""
    ) -> None:
        self.issued: list[str] = []
        self.uses = uses
        self.user = user
        self.realm = f"http://{registry.host}/token"
        self.challenge = challenge or 'Bearer realm="REALM",service="fake",scope="repository:NAME:pull"'
        self._used: dict[str, int] = {}
        self._lock = threading.Lock()
        registry.on("GET", "/token", self._give)
        registry.on("POST", "/token", self._give)
        for method in ("GET", "HEAD"):
            registry.on(method, "/v2/", self._check)

    def _give(self, request: Request) -> Answer:
        if self.user and self.user not in (request.headers.get("authorization", ""), request.body.decode()):
            return error(401, "UNAUTHORIZED")
        with self._lock:
            token = f"token-{len(self.issued)}"
            self.issued.append(token)
        return Answer(200, json.dumps({"token": token, "expires_in": 300}).encode())

    def _check(self, request: Request) -> Answer | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        with self._lock:
            if token in self.issued and self._used.get(token, 0) < self.uses:
                self._used[token] = self._used.get(token, 0) + 1
                return None
        match = _PATH.match(request.path)
        challenge = self.challenge.replace("REALM", self.realm).replace("NAME", match["name"] if match else "")
        return error(401, "UNAUTHORIZED", **{"WWW-Authenticate": challenge})


class Uploads:
    """Makes a registry take what is pushed."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry
        registry.on("POST", "/blobs/uploads/", self._begin)
        registry.on("PUT", "/blobs/uploads/", self._blob)
        registry.on("PUT", "/manifests/", self.manifest)

    def _begin(self, request: Request) -> Answer:
        return Answer(202, headers={"Location": f"{request.path}1"})

    def _blob(self, request: Request) -> Answer:
        (digest,) = parse_qs(urlsplit(request.path).query)["digest"]
        descriptor = self._registry.blobs.put(request.body, "application/octet-stream")
        return Answer(201) if descriptor["digest"] == digest else error(400, "DIGEST_INVALID")

    def manifest(self, request: Request) -> Answer:
        """Keep a manifest, and its tag."""
        match = _PATH.match(request.path)
        assert match
        descriptor = self._registry.blobs.put(request.body, request.headers["content-type"])
        self._registry.tag(match["name"], match["what"], descriptor)
        return Answer(201, headers={"Docker-Content-Digest": descriptor["digest"]})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], registry: FakeRegistry, tls: tuple[Path, Path] | None) -> None:
        self.registry = registry
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if self._context and tls:
            self._context.load_cert_chain(*tls)
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def get_request(self):
        connection, address = super().get_request()
        self.registry.connections += 1
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request, client_address) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address) -> None:
        """Do not report a client that goes away."""

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # as servers do: else headers and body wait for each other
    server: _Server

    def handle(self) -> None:
        if (
            isinstance(self.request, ssl.SSLSocket) or self.request.recv(1, socket.MSG_PEEK) != b"\x16"
        ):  # not the beginning of a TLS handshake
            super().handle()

    def _do(self) -> None:
        registry = self.server.registry
        if registry.link:
            time.sleep(registry.link.latency)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): ", ".join(self.headers.get_all(name)) for name in self.headers}
        answer = registry.answer(Request(self.command, self.path, headers, body, registry))
        if answer.before:
            answer.before()
        self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _do  # noqa: N815

    def _send(self, answer: Answer) -> None:
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        if answer.unsized:
            headers |= {"Content-Length": None, "Connection": "close"}
        self.send_response(answer.status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(answer)
        if answer.unsized or answer.cut is not None:
            self.close_connection = True

    def _send_body(self, answer: Answer) -> None:
        body = answer.body if answer.cut is None else answer.body[: answer.cut]
        step = 1 if answer.trickle else CHUNK
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            if self.server.registry.link:
                self.server.registry.link.send(len(piece))
            if answer.trickle:
                time.sleep(answer.trickle)
            self.wfile.write(piece)
        if answer.stall:
            self.wfile.flush()
            time.sleep(answer.stall)

    def log_message(self, *_: object) -> None:
        pass
