"""A server that sends given bytes, for answers that no HTTP library would send.

with RawServer(lambda connection: connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")) as server:
    pull(f"docker://{server.host}/org/image:1")
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Script = "Callable[[socket.socket], None]"
LARGEST_HEAD = 1 << 16


class RawServer:
    """See the module.

    Attributes:
        host: ``127.0.0.1:PORT``.
        asked: First lines of the requests.
    """

    def __init__(self, script: Callable[[socket.socket], None], *, listens: bool = True) -> None:
        """Begin to serve.

        Args:
            script: Answers each request of each connection.
            listens: Whether a request is read first; without, the script begins with the connection.
        """
        self._script = script
        self._listens = listens
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if not self._listens:
                self._script(connection)
                return
            while head := _head(connection):
                if head[:1] == b"\x16":  # the beginning of a TLS handshake
                    return
                self.asked.append(head.split(b"\r\n")[0].decode())
                self._script(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and head[:1] != b"\x16" and (data := connection.recv(LARGEST_HEAD)):
        head += data
    return head


def sends(*pieces: bytes) -> Callable[[socket.socket], None]:
    """Send some pieces and wait for the next request."""
    return lambda connection: connection.sendall(b"".join(pieces))


def endlessly(piece: bytes, first: bytes = b"", pause: float = 0) -> Callable[[socket.socket], None]:
    """Send a piece again and again."""

    def script(connection: socket.socket) -> None:
        connection.sendall(first)
        for each in _for_ever(piece, pause):
            connection.sendall(each)

    return script


def _for_ever(piece: bytes, pause: float) -> Iterable[bytes]:
    for each in itertools.repeat(piece):
        yield each
        time.sleep(pause)
