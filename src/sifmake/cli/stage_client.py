"""Handing a stage to the helper that Snakemake's run has started: a process that has loaded everything already.

Snakemake starts a process for each stage of each image. Most of what such a process does is loading Python modules, so
this one loads next to nothing, and does the stage itself where there is no helper.
"""

from __future__ import annotations

import _socket
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

VARIABLE = "SIFMAKE_STAGE_HELPER"
"""Names the helper's socket."""
REFUSED = 255
"""The helper belongs to another sifmake or Python."""


def identity() -> tuple[str, str]:
    """Return what client and helper must have in common."""
    return __file__, sys.version


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
    # pathlib alone would take as long as all the rest.
    folder = os.getcwd()  # noqa: PTH109
    request = marshal.dumps((identity(), folder, list(arguments), dict(os.environ)))
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (1, 2))
    try:
        connection.connect(address)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)
        connection.sendmsg([len(request).to_bytes(4, "little")], [rights])
        connection.sendall(request)
    except OSError:
        return None
    try:
        answer = connection.recv(1)
    except (OSError, KeyboardInterrupt):
        return 130
    if not answer:
        return 1  # the stage was killed
    return None if answer[0] == REFUSED else answer[0]
