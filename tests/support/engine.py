"""An engine's API that runs in this process, on a Unix socket: as much of it as ``docker-daemon:`` asks for."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Has images; remembers what it was asked.

    Attributes:
        images: ID and archive by name.
        log: Paths of the requests.
        cut: After how many bytes an export breaks off.
        pause: Seconds between each 1000 bytes of an answer.
    """

    daemon_threads = True

    def __init__(self, path):
        self.images: dict[str, tuple[str, bytes]] = {}
        self.log: list[str] = []
        self.cut: int | None = None
        self.pause = 0.0
        super().__init__(str(path), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def server_close(self):
        """End the loop too: on a closed socket, whose number another file takes, it would spin."""
        self.shutdown()
        super().server_close()


class Handler(BaseHTTPRequestHandler):
    server: Engine

    def address_string(self):
        return "engine"

    def do_GET(self):
        self.server.log.append(self.path)
        name, _, what = unquote(self.path).removeprefix("/images/").rpartition("/")
        found = self.server.images.get(name)
        if found is None:
            return self.answer(404, json.dumps({"message": f"No such image: {name}"}).encode())
        body = json.dumps({"Id": found[0]}).encode() if what == "json" else found[1]
        return self.answer(200, body if what == "json" else body[: self.server.cut])

    def answer(self, status, body):
        self.send_response(status)
        self.end_headers()
        if not self.server.pause:
            self.wfile.write(body)
        for start in range(0, len(body) if self.server.pause else 0, 1000):
            time.sleep(self.server.pause)
            with suppress(BrokenPipeError):
                self.wfile.write(body[start : start + 1000])

    def log_message(self, *_):
        pass
