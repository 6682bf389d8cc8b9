"""A proxy on loopback that leads to one server, whatever host it is asked for; it remembers what it was asked.

with Proxy(registry.host) as proxy:
    pull("docker://registry.example/name", environ={"HTTPS_PROXY": proxy.url})
    assert proxy.asked == ["CONNECT registry.example:443"]
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self
from urllib.parse import urlsplit

LARGEST_HEAD = 1 << 16


class Proxy:
    """See the module.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        asked: Method and target of each request.
        credentials: The ``Proxy-Authorization`` of each request; empty where there was none.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.asked: list[str] = []
        self.credentials: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._lead, args=(connection,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._target) as server:
            head = b""
            while b"\r\n\r\n" not in head and len(head) < LARGEST_HEAD:
                head += client.recv(LARGEST_HEAD) or b"\r\n\r\n"
            head, _, rest = head.partition(b"\r\n\r\n")
            line, *fields = head.decode().split("\r\n")
            method, target, _ = line.split(" ")
            self.asked.append(f"{method} {target}")
            given = dict(field.lower().split(": ", 1) for field in fields)
            self.credentials.append(given.get("proxy-authorization", ""))
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                parts = urlsplit(target)
                own = [f for f in fields if not f.lower().startswith(("proxy-", "connection:"))]
                path = parts._replace(scheme="", netloc="").geturl()
                words = [f"{method} {path} HTTP/1.1", *own, "Connection: close", "", ""]
                server.sendall("\r\n".join(words).encode() + rest)
            threading.Thread(target=_relay, args=(client, server), daemon=True).start()
            _relay(server, client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _relay(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
