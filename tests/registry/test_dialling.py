"""Names with many addresses at which nobody answers."""

from __future__ import annotations

import socket
import time

import pytest

from sifmake.registry.dialling import dial
from support.raw_server import RawServer, sends


def addresses(monkeypatch, *ports):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)


@pytest.fixture
def silent():
    """A port whose queue is full: whoever connects waits."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for sock in waiting:
            sock.close()


def test_all_addresses_share_one_time(monkeypatch, silent):
    addresses(monkeypatch, *[silent] * 1000)  # five minutes, if each had its own
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        dial("many.example", 443, 0.3, ())
    assert time.monotonic() - began < 60


def test_a_later_address_is_tried(monkeypatch):
    with socket.socket() as closed, RawServer(sends(b"")) as server:
        closed.bind(("127.0.0.1", 0))
        port = int(server.host.partition(":")[2])
        addresses(monkeypatch, closed.getsockname()[1], port)
        with dial("two.example", 443, 5, [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]) as sock:
            assert sock.getpeername()[1] == port
            assert sock.gettimeout() == 5
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_last_error_is_told(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        addresses(monkeypatch, closed.getsockname()[1])
        with pytest.raises(ConnectionRefusedError):
            dial("none.example", 443, 5, ())
