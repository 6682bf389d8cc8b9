"""A slow link to a server on this machine, with the rate and delay of a link to a distant registry."""

from __future__ import annotations

import queue
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 64 * 1024
_QUEUED = 64
"""The number of chunks in flight; more than rate and delay need."""


@contextmanager
def throttled(address: str, rate: float, round_trip: float) -> Iterator[str]:
    """Yield an address that leads to a server over a slow link; every connection gets the full rate.

    Args:
        address: ``HOST:PORT`` of the server.
        rate: Bytes per second in each direction.
        round_trip: Seconds from a byte to its answer.
    """
    host, _, port = address.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serve = threading.Thread(
            target=_serve, args=(listener, (host, int(port)), rate, round_trip / 2), daemon=True, name="link"
        )
        serve.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        serve.join()


def _serve(listener: socket.socket, server: tuple[str, int], rate: float, delay: float) -> None:
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            threading.Thread(target=_lead, args=(near, server, rate, delay), daemon=True).start()


def _lead(near: socket.socket, server: tuple[str, int], rate: float, delay: float) -> None:
    """Forward one connection in both directions until it ends."""
    with near, socket.create_connection(server) as far:
        threads = []
        for source, target in ((near, far), (far, near)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            waiting: queue.Queue[tuple[float, bytes]] = queue.Queue(_QUEUED)
            threads.append(threading.Thread(target=_take, args=(source, waiting, delay), daemon=True))
            threads.append(threading.Thread(target=_give, args=(target, waiting, rate), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _take(source: socket.socket, waiting: queue.Queue[tuple[float, bytes]], delay: float) -> None:
    """Queue each chunk with the time at which to forward it; the last chunk is empty."""
    data = b"."
    while data:
        try:
            data = source.recv(_CHUNK)
        except OSError:
            data = b""
        waiting.put((time.monotonic() + delay, data))


def _give(target: socket.socket, waiting: queue.Queue[tuple[float, bytes]], rate: float) -> None:
    free = 0.0
    with suppress(OSError):
        while True:
            arrives, data = waiting.get()
            free = max(free, arrives) + len(data) / rate
            time.sleep(max(0.0, free - time.monotonic()))
            if not data:
                break
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)  # a close would not reach the other side while a thread waits for it here
