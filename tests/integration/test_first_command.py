"""``exec URI`` on an empty store: the command starts before its image is safe on the disk, which changes nothing else.

Processes that sifmake forks wait in their first fsync until the command has said that it runs. Only what finishes the
image syncs, so a command that started after it would never run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.corpus import CORPUS
from support.runtime import environment, needs_runtime, open_folder, processes_with, run, wait_until

LAYOUT = CORPUS / "images" / "busybox-official-amd64" / "musl" / "amd64"
PAUSED = """
import errno, os, sys, time
MAIN, GO, FAILS, real = os.getpid(), sys.argv.pop(1), sys.argv.pop(1), os.fsync
def fsync(fd):
    if os.getpid() != MAIN:
        until = time.monotonic() + 30
        while not os.path.exists(GO) and time.monotonic() < until:
            time.sleep(0.01)
        if FAILS or not os.path.exists(GO):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    real(fd)
os.fsync = fsync
from sifmake.cli.main import main
sys.exit(main())
"""
pytestmark = pytest.mark.skipif(not LAYOUT.is_dir(), reason="the corpus is not there")


@pytest.fixture
def folder():
    with open_folder() as path:
        yield path


def start(folder, script, *, go="started", fails=""):
    """Start a script in the image; its folder /mnt is the one of the test."""
    words = ["exec", "-q", "--bind", f"{folder}:/mnt", f"oci:{LAYOUT}", "sh", "-c", script]
    command = [sys.executable, "-c", PAUSED, str(folder / go), fails, *words]
    files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    env = environment(SIFMAKE_CACHE=str(folder / "store"))
    return subprocess.Popen(command, env=env, start_new_session=True, cwd="/", **files)


def sifs(folder):
    """Return the names of SIF files in the store, and of everything that was left behind."""
    names = [path.name for path in (folder / "store").rglob("*") if path.name.endswith(".sif") or ".tmp-" in path.name]
    assert not processes_with(str(folder))
    return names


def again(folder):
    """Run the image from the store, which then has it."""
    ran = run("exec", "-q", "--offline", f"oci:{LAYOUT}", "true", env=environment(SIFMAKE_CACHE=str(folder / "store")))
    assert (ran.returncode, ran.stderr) == (0, b"")
    [name] = sifs(folder)
    return name


@needs_runtime
def test_it_starts_before_the_image_is_safe_and_its_status_counts(folder):
    with start(folder, "ls -A /mnt/store/sif/*; echo $APPTAINER_NAME; touch /mnt/started; exit 3") as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (3, b"")
    temporary, name = output.decode().split()
    assert temporary.startswith(".tmp-")
    assert [name] == sifs(folder)
    assert again(folder) == name


@needs_runtime
def test_if_the_image_cannot_be_kept_a_warning_says_so_and_the_next_run_builds_it(folder):
    with start(folder, "touch /mnt/started; exit 3", fails="yes") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    told = "sifmake: warning: the store does not keep the image, so it will be built again: "
    assert errors.decode().startswith(told)
    assert b"No space left on device" in errors
    assert errors.count(b"\n") == 1
    assert sifs(folder) == []
    again(folder)


@needs_runtime
def test_ctrl_c_ends_the_command_only(folder):
    with start(folder, "touch /mnt/started; sleep 100", go="go on") as process:
        wait_until((folder / "started").exists)
        os.killpg(process.pid, signal.SIGINT)
        wait_until(lambda: not [pid for pid in processes_with(str(folder)) if is_sleeping(pid)])
        (folder / "go on").touch()
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(sifs(folder)) == 1


def is_sleeping(pid):
    """Tell whether a process is the command of the image."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().startswith(b"sleep\0")
    except OSError:
        return False


@needs_runtime
def test_another_run_waits_for_the_image_and_does_not_build_it_again(folder):
    env = environment(SIFMAKE_CACHE=str(folder / "store"))
    with start(folder, "touch /mnt/started", go="go on") as process:
        wait_until((folder / "started").exists)
        command = [sys.executable, "-m", "sifmake", "exec", "--offline", f"oci:{LAYOUT}", "true"]
        with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as other:
            wait_until(lambda: has_lock_open(other.pid))
            (folder / "go on").touch()
            errors = other.communicate(timeout=60)[1]
    assert (process.returncode, other.returncode, errors) == (0, 0, b"")
    assert len(sifs(folder)) == 1


def has_lock_open(pid):
    """Tell whether a process has a lock file of the store open."""
    names = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            names.append(str(file.readlink()))
    return any("/store/locks/" in name for name in names)


@needs_runtime
def test_a_killed_run_gives_no_name(folder):
    with start(folder, "touch /mnt/started; sleep 100", go="never") as process:
        wait_until((folder / "started").exists)
        process.kill()
        process.communicate(timeout=60)
        wait_until(lambda: not processes_with(str(folder)))
    assert sifs(folder) == []
    again(folder)
