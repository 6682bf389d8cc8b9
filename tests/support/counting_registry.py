"""A registry in this process that counts what it is asked; for tests that assert work, not answers to odd requests.

with CountingRegistry(blobs) as registry:
    registry.tags["app:1"] = blobs.image([...])
    ...                                    # docker://{registry.host}/app:1
    registry.counts()                      # {"HEAD manifest": 1, "GET blob": 2}
    registry.down = True                   # every connection is closed without an answer
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from support.images import Blobs, Descriptor


class CountingRegistry:
    """Serves blobs by digest in any repository, and manifests by tag or digest.

    Attributes:
        blobs: Content by digest.
        tags: ``name:tag`` to a descriptor.
        requests: (method, path) in order.
        down: Whether nothing is answered.
        slow: Seconds between pieces of a blob.
    """

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self.tags: dict[str, Descriptor] = {}
        self.requests: list[tuple[str, str]] = []
        self.down = False
        self.slow = 0.0
        self.blob_started = threading.Event()
        self._server = Server(("127.0.0.1", 0), type("Handler", (Handler,), {"registry": self}))

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def tag(self, repository: str, tag: str, descriptor: Descriptor) -> None:
        """Let a tag stand for a manifest or index."""
        self.tags[f"{repository}:{tag}"] = descriptor

    def forget(self) -> None:
        """Start to count from zero."""
        self.requests.clear()
        self.blob_started.clear()

    def counts(self) -> dict[str, int]:
        """Return how often each kind of thing was asked for, without the version check."""
        kinds = [f"{method} {path.split('/')[-2].rstrip('s')}" for method, path in self.requests if path != "/v2/"]
        return dict(Counter(kinds))

    def blob_gets(self) -> dict[str, int]:
        """Return how often each blob was fetched."""
        paths = [path for method, path in self.requests if method == "GET" and "/blobs/" in path]
        return dict(Counter(path.rpartition("/")[2] for path in paths))

    def find(self, path: str) -> tuple[bytes, str, str] | None:
        parts = path.removeprefix("/v2/").split("/")
        name, kind, wanted = "/".join(parts[:-2]), parts[-2], parts[-1]
        if kind == "manifests" and f"{name}:{wanted}" in self.tags:
            wanted = self.tags[f"{name}:{wanted}"]["digest"]
        data = self.blobs.data.get(wanted)
        if data is None:
            return None
        if kind == "blobs":
            return data, "application/octet-stream", wanted
        return data, _media_type(data), wanted


class Server(ThreadingHTTPServer):
    """A server that says nothing of clients that go away."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    """Answers for the registry that its class attribute names."""

    protocol_version = "HTTP/1.1"
    registry: CountingRegistry

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        if self.registry.down:
            self.close_connection = True
            self.connection.close()
            return
        self.registry.requests.append((self.command, self.path))
        found = (b"{}", "application/json", "") if self.path == "/v2/" else self.registry.find(self.path)
        data, media_type, digest = found or (b'{"errors": []}', "application/json", "")
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if body:
            self.send(data)

    def send(self, data: bytes) -> None:
        if "/blobs/" not in self.path or not self.registry.slow:
            self.wfile.write(data)
            return
        for start in range(0, len(data), 4096):
            self.wfile.write(data[start : start + 4096])
            self.wfile.flush()
            self.registry.blob_started.set()
            time.sleep(self.registry.slow)


def _media_type(data: bytes) -> str:
    return json.loads(data)["mediaType"]
