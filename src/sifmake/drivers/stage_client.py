"""Handing a stage to the helper that Snakemake's run has started: a process that has loaded everything already.

Snakemake starts a process for each stage of each image. Most of what such a process does is loading Python modules, so
this one loads next to nothing, and does the stage itself where there is no helper.
"""

from __future__ import annotations

import _json
import _socket
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

VARIABLE = "SIFMAKE_STAGE_HELPER"
"""Names the helper's socket."""
REFUSED = b"null\n"
"""The answer of a helper that belongs to another sifmake, Python or user."""


def identity() -> str:
    """Return what client and helper must have in common."""
    return f"{__file__} {sys.version}"


def request_line(arguments: Sequence[str]) -> bytes:
    """Return the request: one line of JSON with what makes this process.

    The ``json`` package would take as long to load as all the rest, so that only its function that quotes is used.
    """
    quote = _json.encode_basestring_ascii
    words = ",".join(map(quote, arguments))
    variables = ",".join(f"{quote(name)}:{quote(value)}" for name, value in os.environ.items())
    members = {
        "sender": quote(identity()),
        "folder": quote(os.getcwd()),  # noqa: PTH109 - pathlib too would take that long
        "arguments": f"[{words}]",
        "environ": f"{{{variables}}}",
    }
    return ("{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}\n").encode()


def peer_user(connection: _socket.socket) -> int:
    """Return the user of the process at the other end of a local connection: ``struct ucred`` of unix(7)."""
    credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder)


def ask(arguments: Sequence[str]) -> int | None:
    """Let the helper run a stage and return its status; None where there is no helper that could.

    Output goes to the standard streams of this process. When this process ends early, the stage is interrupted.
    """
    address = os.environ.get(VARIABLE)
    if not address:
        return None
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        return _converse(connection, address, arguments)
    finally:
        connection.close()


def _converse(connection: _socket.socket, address: str, arguments: Sequence[str]) -> int | None:
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (1, 2))
    try:
        connection.connect(address)
        if peer_user(connection) != os.geteuid():  # the request holds the environment, with a passphrase in it perhaps
            from sifmake.printing import print_error

            print_error(f"sifmake: warning: {address!r} in {VARIABLE} belongs to another user and is not used")
            return None
        request = request_line(arguments)
        sent = connection.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
        connection.sendall(request[sent:])
    except OSError:
        return None
    try:
        answer = connection.recv(16)
    except (OSError, KeyboardInterrupt):
        return 130
    if not answer:
        return 1  # the stage was killed
    return None if answer == REFUSED else int(answer)
