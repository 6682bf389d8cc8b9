"""Pass a stage to the helper of a Snakemake run, a process that has loaded everything already.

Snakemake starts a process for each stage of each image, which would spend most of its time importing Python modules. So
this module imports very little; if there is no helper, the process runs the stage itself.
"""

from __future__ import annotations

import _json
import _signal  # type: ignore[import-not-found]  # `signal` would take as long as all the rest
import _socket
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

VARIABLE = "SIFMAKE_STAGE_HELPER"
"""Variable with the path of the helper's socket."""
_ENDING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
REFUSED = b"null\n"
"""The answer of a helper that belongs to another sifmake, Python or user."""


def identity() -> str:
    """Return a text that must be equal for client and helper."""
    return f"{__file__} {sys.version}"


def request_line(arguments: Sequence[str]) -> bytes:
    """Return the request: one line of JSON with the state of this process.

    Importing the ``json`` package would take as long as everything else, so only its function for quoting is used.
    """
    quote = _json.encode_basestring_ascii
    words = ",".join(map(quote, arguments))
    variables = ",".join(f"{quote(name)}:{quote(value)}" for name, value in os.environ.items())
    members = {
        "sender": quote(identity()),
        "folder": quote(os.getcwd()),  # noqa: PTH109 - importing pathlib would take as long
        "arguments": f"[{words}]",
        "environ": f"{{{variables}}}",
    }
    return ("{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}\n").encode()


def peer_user(connection: _socket.socket) -> int:
    """Return the user of the process at the other end of a local connection: ``struct ucred`` of unix(7)."""
    credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder)


def ask(arguments: Sequence[str]) -> int | None:
    """Have the helper run a stage and return its status; None if there is no usable helper.

    Output goes to the standard streams of this process. If this process ends early, the stage is interrupted.
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
        if peer_user(connection) != os.geteuid():  # the request contains the environment, perhaps with a passphrase
            from sifmake.printing import print_error

            print_error(f"sifmake: warning: {address!r} in {VARIABLE} belongs to another user and is not used")
            return None
        request = request_line(arguments)
        sent = connection.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
        connection.sendall(request[sent:])
    except OSError:
        return None
    answer, number = _answer(connection)
    if number:
        return 128 + number
    if not answer:
        return 1  # the stage was killed
    return None if answer == REFUSED else int(answer)


def _answer(connection: _socket.socket) -> tuple[bytes, int]:
    """Wait for the end of the stage; return its answer, and the signal that this process got meanwhile, or 0.

    The stage gets that signal too, and removes what it has begun before it answers.
    """
    asked: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        if not asked:
            connection.send(bytes([number]))
        asked.append(number)

    for number in _ENDING:
        if _signal.getsignal(number) in (_signal.SIG_DFL, _signal.default_int_handler):
            _signal.signal(number, pass_on)
    try:
        answer = connection.recv(16)  # goes on after a signal (PEP 475)
    except OSError:
        answer = b""
    return answer, asked[0] if asked else 0
