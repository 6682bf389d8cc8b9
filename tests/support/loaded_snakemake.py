"""Snakemake without its start: four fifths of what a run in tests costs is loading Snakemake's modules.

A process loads them once and forks for each run, which gets its own folder, environment, arguments and output, as a
program does. What is killed or measured has to be started as a program: see :meth:`support.project.Folder.start`.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LOADED = ("snakemake.cli", "docutils.core", "jinja2", "numpy", "requests")
"""The program, and what most runs of it load later."""
_LARGEST = 1 << 20
_PROGRAM = str(Path(sys.executable).with_name("snakemake"))


def run_snakemake(
    arguments: Sequence[str], folder: Path, environ: Mapping[str, str], timeout: float = 170
) -> tuple[int, str]:
    """Run Snakemake in a folder to its end; return its status and what it printed.

    Raises:
        TimeoutError: It takes longer than ``timeout`` seconds.
    """
    connection = _server()
    connection.settimeout(timeout)
    with tempfile.TemporaryFile() as out:
        request = {"arguments": list(arguments), "folder": str(folder), "environ": dict(environ)}
        socket.send_fds(connection, [json.dumps(request).encode()], [out.fileno()])
        status = int(connection.recv(16))
        out.seek(0)
        return status, out.read().decode("utf-8", "replace")


@cache
def _server() -> socket.socket:
    """Start the process that has everything loaded; it ends with this one."""
    mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keep = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    with other:
        process = subprocess.Popen([sys.executable, __file__], stdin=other, stdout=subprocess.DEVNULL, env=keep)

    def end() -> None:
        mine.close()
        process.wait()

    atexit.register(end)
    return mine


def _serve() -> None:
    """Fork for each request until the other end is closed."""
    for name in _LOADED:
        import_module(name)
    main = sys.modules[_LOADED[0]].main
    with socket.socket(fileno=os.dup(0)) as connection:
        while True:
            line, streams, _, _ = socket.recv_fds(connection, _LARGEST, 1)
            if not line:
                return
            pid = os.fork()
            if not pid:
                connection.close()
                _become(json.loads(line), streams[0])
                main()
            os.close(streams[0])
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            connection.send(b"%d" % status)


def _become(request: dict, stream: int) -> None:
    """Take over what makes a process of its own."""
    os.setsid()
    for number in (1, 2):
        os.dup2(stream, number)
    os.close(stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.argv = [_PROGRAM, *request["arguments"]]
    sys.path[0] = str(Path(_PROGRAM).parent)
    tempfile.tempdir = None


if __name__ == "__main__":
    _serve()
