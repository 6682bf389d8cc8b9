"""The guard in ``conftest.py`` sees whoever asks for a host that is elsewhere; nobody is asked here."""

from __future__ import annotations

import sys

import pytest

from support.loopback import reached_beyond


@pytest.mark.parametrize(
    "host", ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "registry.example", "localhost.example"]
)
@pytest.mark.parametrize("event", ["socket.connect", "socket.getaddrinfo"])
def test_a_host_elsewhere_is_seen(event, host):
    sys.audit(event, *((None, (host, 9)) if event == "socket.connect" else (host, 9, 0, 0, 0)))
    assert reached_beyond() == [host]


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "::1", b"localhost", None])
def test_this_machine_is_not_elsewhere(host):
    sys.audit("socket.getaddrinfo", host, 9, 0, 0, 0)
    sys.audit("socket.connect", None, "/run/engine.sock")
    assert reached_beyond() == []
