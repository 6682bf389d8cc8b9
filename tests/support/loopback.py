"""Nothing in the tests reaches beyond this machine: names are not looked up, addresses elsewhere not connected to."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

_beyond: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    host = None
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    if host and not is_here(host.decode("latin-1") if isinstance(host, bytes) else str(host)):
        _beyond.append(str(host))


def is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def watch() -> None:
    """Note from now on what this process asks of the network; it cannot be ended."""
    sys.addaudithook(_watch)


def reached_beyond() -> list[str]:
    """Return the hosts elsewhere that were asked for since the last call."""
    hosts = _beyond[:]
    _beyond.clear()
    return hosts
