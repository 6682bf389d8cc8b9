"""Stages by way of the helper: the same output, status and interruption as without it, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sifmake.drivers import stage_client, stage_helper
from support.project import REPOSITORY, Folder
from support.runtime import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYOUT = REPOSITORY / "examples/hello/layout"


@pytest.fixture
def project(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "project", tmp_path / "home")
    folder.images["hello"] = {"from": f"oci:{LAYOUT}:latest"}
    folder.write()
    folder.run("sifmake", "lock")
    return folder


@pytest.fixture
def helper(project: Folder) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sifmake.drivers.stage_helper"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=project.variables()
    ) as process:
        name, _, address = process.stdout.readline().strip().partition("=")
        project.environ[name] = address
        yield process
        process.stdin.close()
        assert process.wait(60) == 0
        assert not Path(address).exists()


def test_output_and_status_are_those_of_the_stage(project: Folder, helper: subprocess.Popen[str]) -> None:
    for stage in ("pull", "flatten", "sif", "sign", "verify", "publish"):
        project.run("sifmake", "stage", "--root", ".", stage, "hello")
    assert project.run("sifmake", "stage", "--root", ".", "publish", "hello") == "hello: publish is up to date\n"
    text = project.run("sifmake", "stage", "--root", ".", "pull", "other", status=1)
    assert text == "sifmake: error: other: config/locks/other.yaml: there is no lock; run `sifmake lock other`\n"
    assert "invalid choice" in project.run("sifmake", "stage", "nonsense", "hello", status=2)
    assert helper.poll() is None


def test_a_stage_ends_with_its_client(project: Folder, helper: subprocess.Popen[str], tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.mkdir()
    project.environ["SIFMAKE_CACHE"] = str(tmp_path / "fifo-store")
    lock = project.root / "config/locks/hello.yaml"
    lock.unlink()
    # Reading a pipe that nobody writes to keeps the stage busy until it is interrupted.
    subprocess.run(["mkfifo", str(lock)], check=True)
    process = project.start("sifmake", "stage", "--root", ".", "pull", "hello")
    wait_until(lambda: children(helper.pid))
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    wait_until(lambda: not children(helper.pid))


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_another_sifmake_is_refused_and_does_the_stage_itself(
    project: Folder, helper: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(stage_client.VARIABLE, project.environ[stage_client.VARIABLE])
    monkeypatch.setattr(stage_client, "identity", lambda: f"elsewhere {sys.version}")
    assert stage_client.ask(["stage", "--root", ".", "pull", "hello"]) is None


def test_without_a_helper_there_is_not_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(stage_client.VARIABLE, raising=False)
    assert stage_client.ask(["stage"]) is None
    monkeypatch.setenv(stage_client.VARIABLE, str(tmp_path / "gone"))
    assert stage_client.ask(["stage"]) is None


def converse(address: str, line: bytes, *streams: int) -> bytes:
    """Say a line to the helper as a program without sifmake would."""
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as answer:
        connection.settimeout(20)
        connection.connect(address)
        socket.send_fds(connection, [line[:5]], streams)
        connection.sendall(line[5:])
        return answer.read()


def test_a_request_is_a_line_of_json(project: Folder, helper: subprocess.Popen[str], tmp_path: Path) -> None:
    address = project.environ[stage_client.VARIABLE]
    request = {
        "sender": stage_client.identity(),
        "folder": str(project.root),
        "arguments": ["stage", "pull", "hello"],
        "environ": {**project.variables(), "LONG": "x" * 500_000},
    }
    with (tmp_path / "out").open("w+b") as out, (tmp_path / "err").open("w+b") as err:
        streams = (out.fileno(), err.fileno())
        assert converse(address, json.dumps(request).encode() + b"\n", *streams) == b"0\n"
        request["arguments"] = ["stage", "pull", "other"]
        assert converse(address, json.dumps(request).encode() + b"\n", *streams) == b"1\n"
        request["sender"] = "another"
        assert converse(address, json.dumps(request).encode() + b"\n", *streams) == b"null\n"
    assert (tmp_path / "out").read_bytes() == b""
    assert "there is no lock; run `sifmake lock other`" in (tmp_path / "err").read_text()
    assert (project.root / "results/hello/pull.json").is_file()


def test_the_client_writes_json_without_loading_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / 'a "folder"'
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setitem(os.environb, b"ODD", b'\xff\xe4\n\t\x01"\\\xc3\xa4')
    line = stage_client.request_line(["stage", "--root", "\udcff\u00e4", ""])
    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert json.loads(line) == {
        "sender": stage_client.identity(),
        "folder": str(folder),
        "arguments": ["stage", "--root", "\udcff\u00e4", ""],
        "environ": dict(os.environ),
    }
    code = (
        "import sys, sifmake.cli.main, sifmake.drivers.stage_client; print(*{'json', 're', 'enum'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True).stdout == b"\n"


@pytest.mark.parametrize("line", [b"", b"{}\n", b"[1]\n", b'{"sender": ', b"\xff\n"])
def test_what_is_not_a_request_is_a_failed_stage(line: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    here, there = socket.socketpair()
    with here, there:
        here.sendall(line)
        here.shutdown(socket.SHUT_WR)
        with pytest.raises((ValueError, KeyError, TypeError)):
            stage_helper.receive(there)


def test_other_users_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = socket.socketpair()
    with here, there:
        here.sendall(stage_client.request_line([]))
        assert stage_helper.same_user(there)
        me = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        assert not stage_helper.same_user(there)
        assert stage_helper.receive(there)[0] is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can let another user listen")
def test_a_passphrase_is_not_sent_to_another_users_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The credentials of a socket are those of the process that listened, unix(7)."""
    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "sesame")
    for user, heard in ((12345, b""), (0, b"sesame")):
        address = str(tmp_path / f"socket{user}")
        monkeypatch.setenv(stage_client.VARIABLE, address)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            program = (
                "import os, socket, sys; os.setuid(int(sys.argv[1])); socket.socket(fileno=int(sys.argv[2])).listen()"
            )
            subprocess.run(
                [sys.executable, "-c", program, str(user), str(listener.fileno())],
                pass_fds=[listener.fileno()],
                check=True,
            )
            received = []

            def answer(listener: socket.socket = listener, received: list[bytes] = received) -> None:
                connection, _ = listener.accept()
                with connection:
                    received.append(connection.recv(1 << 20))
                    if received[0]:
                        connection.sendall(stage_client.REFUSED)

            thread = threading.Thread(target=answer)
            thread.start()
            assert stage_client.ask(["stage", "--root", ".", "sign", "hello"]) is None
            thread.join(10)
        assert heard in received[0]
        assert bool(received[0]) == bool(heard)
        assert ("belongs to another user and is not used" in capfd.readouterr().err) == (user != 0)
