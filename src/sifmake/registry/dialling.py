"""Connecting to a name within one time limit, regardless of how many addresses it has."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

from urllib3.util.connection import allowed_gai_family

if TYPE_CHECKING:
    from collections.abc import Iterable


def dial(host: str, port: int, seconds: float, options: Iterable[tuple[Any, ...]]) -> socket.socket:
    """Return a connection to the first address of a host that accepts one.

    Args:
        host: A name or an address, IPv6 without brackets.
        port: TCP port.
        seconds: Limit for all addresses together, because a name may have hundreds that do not answer.
        options: For ``setsockopt``, before the connection is made.

    Raises:
        socket.gaierror: The name has no address.
        TimeoutError: The time is over.
        OSError: No address accepts the connection; the error is that of the last one.
    """
    until = time.monotonic() + seconds
    failure: OSError = TimeoutError("timed out")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM):
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        try:
            sock = _connect(socket.socket(family, kind, protocol), address, left, options)
        except OSError as error:
            failure = error
        else:
            sock.settimeout(seconds)
            return sock
    raise failure


def _connect(sock: socket.socket, address: Any, seconds: float, options: Iterable[tuple[Any, ...]]) -> socket.socket:
    try:
        for option in options:
            sock.setsockopt(*option)
        sock.settimeout(seconds)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
