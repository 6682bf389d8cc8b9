"""The lock avoids double work; when it cannot be had, work goes on."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sifmake.store import Store, lock
from support.messages import Messages

NAME = "some-key"
SOON = 60
"""Seconds; what would wait for a lock in vain waits ten times as long."""


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store", progress=Messages())


def holder(store):
    """Start a process that holds the lock; return it once it does."""
    code = (
        "import sys, time, pathlib\n"
        f"sys.path[:] = {sys.path!r}\n"
        "from sifmake.store import Store\n"
        f"with Store.open(pathlib.Path({str(store.root)!r})).lock({NAME!r}) as held:\n"
        f"    print(held, flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"True\n"
    return process


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


def test_one_at_a_time(store):
    inside, most = [], []

    def work():
        with store.lock(NAME) as held:
            inside.append(held)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
    assert store.progress.warnings == []


def test_different_names_do_not_wait(store):
    with store.lock("one-key") as first, store.lock("two-key") as second, store.lock("any text: /..\n") as third:
        assert first
        assert second
        assert third
    assert {path.parent for path in store.root.rglob("*") if path.is_file()} == {store.root / "locks"}


def test_after_the_timeout_work_goes_on(store):
    process = holder(store)
    try:
        begin = time.monotonic()
        with store.lock(NAME, 0.2) as held:
            assert not held
        assert 0.1 < time.monotonic() - begin < SOON
        assert NAME in store.progress.warnings[0]
    finally:
        end(process)


def test_waiting_is_said_and_ends_with_the_other_process(store, monkeypatch):
    monkeypatch.setattr(lock, "SAY_AFTER", 0.05)
    process = holder(store)
    monkeypatch.setattr(store.progress, "info", lambda text: (store.progress.infos.append(text), process.kill()))
    with store.lock(NAME, SOON) as held:
        assert held
    end(process)
    assert "waiting" in store.progress.infos[0]
    assert store.progress.warnings == []


def test_the_lock_of_a_killed_process_is_free(store):
    process = holder(store)
    process.send_signal(signal.SIGKILL)
    end(process)
    with store.lock(NAME, 5) as held:
        assert held


def test_a_lock_file_that_a_dead_host_left_means_nothing(store):
    with store.lock(NAME):
        pass
    (store.root / "locks" / NAME).write_text("pid 1 on a host that is gone")
    with store.lock(NAME, 5) as held:
        assert held


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO, errno.ESTALE])
def test_file_systems_without_locks(store, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with store.lock(NAME, 30) as held:
        assert not held
    assert os.strerror(number) in store.progress.warnings[0]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_lock_files_that_cannot_be_made(store, monkeypatch, number):
    real = os.open

    def refuse(path, flags, *rest, **named):
        if "locks" in str(path):
            raise OSError(number, os.strerror(number))
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    with store.lock(NAME, 30) as held:
        assert not held
    assert os.strerror(number) in store.progress.warnings[0]


def test_a_file_server_that_hangs_is_waited_for_no_longer_than_the_timeout(store, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(fcntl, "flock", lambda *_: answer.wait(600))
    begin = time.monotonic()
    with store.lock(NAME, 0.1) as held:
        assert not held
    assert time.monotonic() - begin < SOON
    assert "does not answer" in store.progress.warnings[0]
    answer.set()


@pytest.mark.parametrize("alone", ["", "1"])
def test_memory_that_runs_out_while_the_lock_is_asked_for_ends_the_wait(store, monkeypatch, alone):
    def fail(*_):
        raise MemoryError

    monkeypatch.setenv("SIFMAKE_WITHOUT_THREADS", alone)
    with store.lock("x"):
        pass
    monkeypatch.setattr("sifmake.store.folder.Folder.open_mark", fail)
    begin = time.monotonic()
    with pytest.raises(MemoryError), store.lock("x", timeout=600):
        pytest.fail("the lock is not there")
    assert time.monotonic() - begin < SOON


def test_an_error_inside_lets_go(store):
    with pytest.raises(ZeroDivisionError), store.lock(NAME):
        raise ZeroDivisionError
    with store.lock(NAME, 5) as held:
        assert held
