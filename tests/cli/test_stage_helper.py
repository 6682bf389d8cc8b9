"""Stages by way of the helper: the same output, status and interruption as without it, and nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sifmake.cli import stage_client
from support.project import REPOSITORY, Folder

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
    command = [sys.executable, "-m", "sifmake.cli.stage_helper"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=project.variables()
    ) as process:
        name, _, address = process.stdout.readline().strip().partition("=")
        project.environ[name] = address
        yield process
        process.stdin.close()
        assert process.wait(10) == 0
        assert not Path(address).exists()


def test_output_and_status_are_those_of_the_stage(project: Folder, helper: subprocess.Popen[str]) -> None:
    for stage in ("pull", "flatten", "sif", "sign", "verify", "publish"):
        project.run("sifmake", "stage", "--root", ".", stage, "hello")
    assert project.run("sifmake", "stage", "--root", ".", "publish", "hello") == "hello: publish is up to date\n"
    text = project.run("sifmake", "stage", "--root", ".", "pull", "other", status=1)
    assert text == "sifmake: error: other: config/locks/other.yaml: there is no lock; run sifmake lock other\n"
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
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    deadline = time.monotonic() + 10
    while children(helper.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children(helper.pid) == []


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_another_sifmake_is_refused_and_does_the_stage_itself(
    project: Folder, helper: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(stage_client.VARIABLE, project.environ[stage_client.VARIABLE])
    monkeypatch.setattr(stage_client, "identity", lambda: ("elsewhere", sys.version))
    assert stage_client.ask(["stage", "--root", ".", "pull", "hello"]) is None


def test_without_a_helper_there_is_no_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(stage_client.VARIABLE, raising=False)
    assert stage_client.ask(["stage"]) is None
    monkeypatch.setenv(stage_client.VARIABLE, str(tmp_path / "gone"))
    assert stage_client.ask(["stage"]) is None
