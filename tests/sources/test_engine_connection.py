"""Where engines are asked: variables, contexts and sockets as ``docker`` and ``podman`` understand them."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socketserver
import ssl
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sifmake.errors import SourceError
from sifmake.sources import engine_connection
from sifmake.sources.engine_connection import find_engine
from support.docker_registry import Authority

FAKE_SSH = """#!{python}
import json, os, socket, sys, threading
open({log!r}, "w").write(json.dumps(sys.argv[1:]))
if not os.path.exists({socket!r}):
    sys.exit("alice@host: Permission denied (publickey).")
engine = socket.socket(socket.AF_UNIX)
engine.connect({socket!r})

def relay(read, write, end):
    while data := read():
        write(data)
    end()

there = lambda: relay(lambda: os.read(0, 65536), engine.sendall, lambda: engine.shutdown(socket.SHUT_WR))
threading.Thread(target=there, daemon=True).start()
relay(lambda: engine.recv(65536), lambda data: os.write(1, data), lambda: None)
"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "engine"

    def do_GET(self):
        body = self.path.encode() * 30_000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_):
        """Do not report a client that is refused."""


def run(server):
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@pytest.fixture
def tmp_path(tmp_path_factory):
    """A folder with a short name, because the path of a socket has at most 108 bytes."""
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def listening():
    servers = []

    def listen(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        servers.append(run(UnixServer(str(path), Handler)))
        return str(path)

    yield listen
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def sockets(tmp_path, monkeypatch):
    """Keep the machine's own engines out."""
    paths = (f"{tmp_path}/run/docker.sock", f"{tmp_path}/run/podman.sock")
    monkeypatch.setattr(engine_connection, "SOCKETS", paths)
    return paths


def ask(environ):
    """Ask an engine twice over one connection, as a client may."""
    connection = find_engine(environ).connect()
    try:
        for path in ("/_ping", "/version"):
            connection.request("GET", path)
            body = connection.getresponse().read()
            assert body == path.encode() * 30_000
    finally:
        connection.close()


def context(folder, name, host, **more):
    """Write a context as ``docker context create`` does, and return the folder of its TLS files."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts/meta" / digest
    meta.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": False, **more}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    return folder / "contexts/tls" / digest / "docker"


def test_the_socket_that_is_there(tmp_path, listening, sockets):
    environ = {"XDG_RUNTIME_DIR": f"{tmp_path}/user"}
    assert find_engine(environ).name == f"unix://{sockets[0]}", "Docker's, so that the error names it"
    order = [tmp_path / "user/podman/podman.sock", tmp_path / "run/podman.sock"]
    order += [tmp_path / "user/docker.sock", tmp_path / "run/docker.sock"]
    for path in order:
        listening(path)
        assert find_engine(environ).name == f"unix://{path}"
        ask(environ)
    assert find_engine({}).name == f"unix://{sockets[0]}"


def test_a_socket_that_may_not_be_used_gives_way(listening, sockets, monkeypatch, tmp_path):
    listening(tmp_path / "run/docker.sock")
    listening(tmp_path / "run/podman.sock")
    monkeypatch.setattr(os, "access", lambda path, _mode: str(path) == sockets[1])
    assert find_engine({}).name == f"unix://{sockets[1]}"
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert find_engine({}).name == f"unix://{sockets[0]}"


def test_who_wins(tmp_path):
    """Docker: DOCKER_HOST overrides DOCKER_CONTEXT, which overrides currentContext (docs.docker.com, contexts)."""
    folder = tmp_path / ".docker"
    context(folder, "named", "unix:///named")
    context(folder, "current", "unix:///current")
    (folder / "config.json").write_text('{"auths": {}, "currentContext": "current"}')
    environ = {"HOME": str(tmp_path)}
    order = [
        (environ, "current"),
        ({"CONTAINER_HOST": "unix:///podman"}, "podman"),
        ({"DOCKER_CONTEXT": "named"}, "named"),
        ({"DOCKER_HOST": "unix:///docker"}, "docker"),
        ({"APPTAINER_DOCKER_HOST": "unix:///apptainer"}, "apptainer"),
        ({"SIFMAKE_DOCKER_HOST": "unix:///own"}, "own"),
    ]
    for given, wanted in order:
        environ = {**environ, **given}
        assert find_engine(environ).name == f"unix:///{wanted}"
    moved = {"DOCKER_CONFIG": str(folder), "HOME": "/nonexistent"}
    assert find_engine(moved).name == "unix:///current"
    assert find_engine({**moved, "DOCKER_CONTEXT": "default"}).name == f"unix://{engine_connection.SOCKETS[0]}"


def test_a_context_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="there is no Docker context 'gone'; run `docker context ls"):
        find_engine({"HOME": str(tmp_path), "DOCKER_CONTEXT": "gone"})


@pytest.fixture
def tls(tmp_path):
    """Run an engine that wants a client certificate; return its address and the folder of certificates for it."""
    authority = Authority(tmp_path)
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(*authority.issue("engine"))
    server_context.load_verify_locations(authority.ca_file)
    server_context.verify_mode = ssl.CERT_REQUIRED
    folder = tmp_path / ".docker"
    folder.mkdir()
    certificate, key = authority.issue("client")
    for source, name in ((authority.ca_file, "ca.pem"), (certificate, "cert.pem"), (key, "key.pem")):
        (folder / name).write_bytes(source.read_bytes())
    with QuietServer(("127.0.0.1", 0), Handler) as server:
        server.socket = server_context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        run(server)
        yield f"tcp://localhost:{server.server_address[1]}", folder
        server.shutdown()


def test_tls_as_the_variables_say(tls, tmp_path):
    address, folder = tls
    base = {"DOCKER_HOST": address, "DOCKER_TLS_VERIFY": "1"}
    ask({**base, "HOME": str(tmp_path)})
    ask({**base, "DOCKER_CONFIG": str(folder)})
    ask({**base, "DOCKER_CERT_PATH": str(folder), "HOME": "/nonexistent"})
    ask({"DOCKER_HOST": address.replace("tcp:", "https:"), "HOME": str(tmp_path)})


def test_tls_refuses_whom_it_does_not_know(tls, tmp_path):
    address, folder = tls
    base = {"DOCKER_HOST": address, "HOME": str(tmp_path)}
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(base)  # without TLS
    (tmp_path / "other").mkdir()
    Authority(tmp_path / "other").ca_file.rename(folder / "ca.pem")
    with pytest.raises(ssl.SSLError):
        ask({**base, "DOCKER_TLS_VERIFY": "1"})
    ask({**base, "DOCKER_TLS": "1"})  # Docker's word for TLS without checking the engine
    (folder / "ca.pem").unlink()
    with pytest.raises(ssl.SSLCertVerificationError):
        ask({**base, "DOCKER_TLS_VERIFY": "1"})


def test_tls_of_a_context(tls, tmp_path):
    address, folder = tls
    files = context(folder, "far", address)
    files.mkdir(parents=True)
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (folder / name).rename(files / name)
    ask({"HOME": str(tmp_path), "DOCKER_CONTEXT": "far"})


@pytest.mark.parametrize(
    ("address", "variables", "name"),
    [
        ("tcp://engine", {}, "tcp://engine:2375"),
        ("tcp://engine", {"DOCKER_TLS_VERIFY": "1"}, "tcp://engine:2376"),
        ("tcp://user:secret@engine:99", {}, "tcp://engine:99"),
        ("tcp://[::1]:4", {}, "tcp://[::1]:4"),
        ("https://engine", {}, "tcp://engine:2376"),
        ("ssh://alice@engine:2200/run/d.sock", {}, "ssh://alice@engine:2200/run/d.sock"),
    ],
)
def test_names_and_ports(address, variables, name):
    assert find_engine({"DOCKER_HOST": address, **variables}).name == name


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("npipe:////./pipe/docker_engine", "cannot connect to an engine.*docker save"),
        ("fd://", "cannot connect to an engine"),
        ("tcp://", "cannot connect to an engine"),
        ("ssh://", "cannot connect to an engine"),
        ("docker.sock", "cannot connect to an engine"),
        ("tcp://engine:many", "not a number"),
        ("tcp://alice:secret@[bad", "invalid engine address"),
        ("ssh://alice:secret@engine", "contains a password"),
        ("ftp://alice:secret@engine", "cannot connect to an engine"),
    ],
)
def test_addresses_that_cannot_be_used(address, words):
    with pytest.raises(SourceError, match=words) as caught:
        find_engine({"DOCKER_HOST": address})
    assert "secret" not in str(caught.value)


@pytest.fixture
def ssh(tmp_path, listening, monkeypatch):
    """Put an ``ssh`` on the path that leads to an engine here; return how it was called."""
    log, path = tmp_path / "ssh.json", tmp_path / "far.sock"
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    program.write_text(FAKE_SSH.format(python=sys.executable, log=str(log), socket=str(path)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def called(environ):
        listening(path)
        ask(environ)
        return json.loads(log.read_text())

    return called


COMMON = ["-o", "ConnectTimeout=30", "-T"]


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"DOCKER_HOST": "ssh://host"}, [*COMMON, "--", "host", "docker system dial-stdio"]),
        (
            {"DOCKER_HOST": "ssh://alice@host:2200/run/my docker.sock"},
            [
                *COMMON,
                *("-l", "alice", "-p", "2200", "--", "host"),
                "docker --host 'unix:///run/my docker.sock' system dial-stdio",
            ],
        ),
        (
            {"CONTAINER_HOST": "ssh://host/run/podman.sock", "CONTAINER_SSHKEY": "/keys/one"},
            [
                *COMMON,
                *("-i", "/keys/one", "--", "host"),
                "podman --url unix:///run/podman.sock system dial-stdio",
            ],
        ),
    ],
    ids=["host", "all", "podman"],
)
def test_an_engine_behind_ssh(ssh, environ, words):
    """The words are those of docker's own helper (cli/connhelper): ``docker system dial-stdio`` there."""
    assert ssh(environ) == words


def test_what_ssh_complains_of_is_the_error(ssh):
    with pytest.raises(ConnectionError, match="Permission denied"):
        ask({"DOCKER_HOST": "ssh://host"})


def test_ssh_needs_no_thread_and_leaves_no_process(ssh, listening, tmp_path, monkeypatch):
    """A login node may allow no thread; and thousands of images are pulled by one process."""
    listening(tmp_path / "far.sock")
    here, start = threading.current_thread(), threading.Thread.start

    def start_elsewhere(thread):
        if threading.current_thread() is here:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_elsewhere)
    before = children()
    ask({"DOCKER_HOST": "ssh://host"})
    assert children() <= before


def children():
    """Return the processes that this one has started, ended ones that nobody waited for included."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            found |= set((task / "children").read_text().split())
    return found


@pytest.mark.parametrize("ending", ["", "trap '' TERM; "], ids=["asked", "killed"])
def test_an_ssh_that_stays_is_ended(tmp_path, monkeypatch, ending):
    program = tmp_path / "ssh"
    program.write_text(
        f"#!/bin/sh\n{ending}echo wait >&2; printf 'HTTP/1.1 200 OK\\r\\n\\r\\n'; sleep 300 & wait; wait"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(engine_connection, "END_TIMEOUT", 0.2)
    before = children()
    connection = find_engine({"DOCKER_HOST": "ssh://host"}).connect()
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    began = time.monotonic()
    connection.close()
    assert time.monotonic() - began < 60
    assert children() <= before


def test_without_ssh(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="ssh"):
        ask({"DOCKER_HOST": "ssh://host"})
