"""The helper used by :mod:`sifmake.drivers.stage_client`: loads once, forks for each stage, ends with its parent.

It is started with a pipe as standard input, prints the variable with the path of its socket, and ends when the pipe is
closed, so it never outlives the run. Each stage runs in a separate process, as it does without the helper.

A client sends one line, with its standard output and error attached as SCM_RIGHTS, and gets one line back::

    {"sender": "...", "folder": "/project", "arguments": ["stage", "pull", "hello"], "environ": {"PATH": "..."}}
    0

The answer is the exit status, or ``null`` if the client has to run the stage itself.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import traceback
from importlib import import_module
from typing import Any

from sifmake.drivers.stage_client import REFUSED, VARIABLE, identity, peer_user
from sifmake.json_text import parse_json
from sifmake.runtime.scratch import Scratch

_LOADED = (
    "sifmake.assembly.image",
    "sifmake.cli.console",
    "sifmake.cli.main",
    "sifmake.cli.stage_command",
    "sifmake.flatten.flattened",
    "sifmake.layers.pack_writer",
    "sifmake.builder.image_signing",
    "sifmake.stages.runner",
    "sifmake.stages.build_session",
    "sifmake.signing",
    "sifmake.signing.pem",
    "sifmake.sources.opening",
    "sifmake.sources.registry_image",
)
"""Modules to import in advance. None of them starts a thread, so forking is safe."""
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_LARGEST_REQUEST = 4 << 20


def _main() -> int:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # interrupts are for the stages; the helper ends with its parent
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda *_: sys.exit(1))
    for name in _LOADED:
        import_module(name)
    folder = Scratch()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(f"{folder.path}/socket")
            listener.listen(64)
            sys.stdout.write(f"{VARIABLE}={folder.path}/socket\n")
            sys.stdout.flush()
            _serve(listener)
    finally:
        folder.remove()
    return 0


def _serve(listener: socket.socket) -> None:
    """Fork for each connection until standard input ends."""
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            try:
                listener.close()
                _run_stage(connection)
            finally:
                os._exit(0)  # skip the helper's clean-up
        connection.close()


def _run_stage(connection: socket.socket) -> None:
    """Run one stage in this forked process, and send its status."""
    answer = b"1\n"
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)  # the command installs its own handlers
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        request, streams = receive(connection)
        if request is None:
            answer = REFUSED
        else:
            _become(request["folder"], request["environ"], streams)
            threading.Thread(target=_watch, args=(connection,), daemon=True).start()
            answer = b"%d\n" % _finish(request["arguments"])
    except Exception:  # noqa: BLE001 - the client shows any error
        traceback.print_exc()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the client ends when it has the status
        connection.sendall(answer)


def _finish(arguments: list[str]) -> int:
    """Run a command until it ends and return its exit status."""
    try:
        status: int = import_module("sifmake.cli.main").main(arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return a request and its file descriptors; None as request if it comes from another sifmake or user."""
    if not same_user(connection):
        return None, []
    more, streams, _, _ = socket.recv_fds(connection, 1 << 16, 2)
    line = more
    while more and not more.endswith(b"\n") and len(line) < _LARGEST_REQUEST:
        more = connection.recv(1 << 20)
        line += more
    request = parse_json(line)
    return request if request["sender"] == identity() else None, streams


def same_user(connection: socket.socket) -> bool:
    """Whether the process at the other end belongs to this user; the socket's folder already keeps others out."""
    return peer_user(connection) == os.geteuid()


def _become(folder: str, environ: dict[str, str], streams: list[int]) -> None:
    """Take over the state of the client's process: streams, folder, variables."""
    for number, stream in zip((1, 2), streams, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)


def _watch(connection: socket.socket) -> None:
    """Send the stage the signal that its client received; interrupt it if the client ends."""
    told = connection.recv(1)
    os.kill(os.getpid(), told[0] if told and told[0] in _ENDING else signal.SIGINT)


if __name__ == "__main__":
    sys.exit(_main())
