"""Signals that come where an error would be lost: while a module is imported, a thread starts, a block begins."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager

import pytest

from sifmake.end_signals import interrupting
from sifmake.threads import Threads, as_they_end
from support.faults import MIB, write_image

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
LOSES_ERRORS = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGNAL)
    done = len([n for n in range(1000)])
except BaseException:
    done = None
"""
"""A module that goes on without what it needs, as C code does that does not look at errors."""


@pytest.mark.parametrize("number", NUMBERS)
def test_a_module_is_imported_to_its_end(tmp_path, monkeypatch, number):
    name = f"loses_errors_{number.name}"
    (tmp_path / f"{name}.py").write_text(LOSES_ERRORS.replace("SIGNAL", number.name))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt), interrupting():
        __import__(name)
    assert sys.modules.pop(name).done == 1000


def test_a_signal_that_waits_comes_while_the_block_runs(tmp_path, monkeypatch):
    (tmp_path / "loses_once.py").write_text(LOSES_ERRORS.replace("SIGNAL", "SIGTERM"))
    monkeypatch.syspath_prepend(tmp_path)

    def import_and_sleep():
        """The signal comes 5 ms after the import, which may be before the sleep has begun."""
        __import__("loses_once")
        time.sleep(300)

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt, match="ended by SIGTERM"), interrupting():
        import_and_sleep()
    assert time.monotonic() - begin < 60
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_pool_waits_for_a_thread_during_whose_start_a_signal_came(monkeypatch, number):
    """The signal comes when the thread runs already, and the pool has not noted it yet."""
    ended = []
    go = threading.Event()

    class Started(threading.Thread):
        def start(self):
            super().start()
            os.kill(os.getpid(), number)

    monkeypatch.setattr(threading, "Thread", Started)
    with pytest.raises(KeyboardInterrupt), interrupting(), Threads(1) as threads:
        threads.submit(lambda: (go.wait(0.2), ended.append(True)))
    assert ended == [True]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_block_that_begins_or_ends_cleans_up(number):
    frames = []

    @contextmanager
    def block():
        frames.append(sys._getframe(1))
        yield

    begun = []

    def come_between_both():
        signal.getsignal(number)(number, frames[0])
        begun.append(True)
        time.sleep(300)

    with pytest.raises(KeyboardInterrupt), interrupting(), block():
        come_between_both()
    assert begun == [True]


@pytest.mark.parametrize("number", NUMBERS)
def test_an_object_is_finalised_to_its_end(number):
    """What is raised in ``__del__`` Python prints, and goes on."""
    done = []

    class Closes:
        def __del__(self):
            os.kill(os.getpid(), number)
            done.append(sum(1 for _ in range(1000)))

    def close_and_sleep():
        Closes()
        time.sleep(300)

    with pytest.raises(KeyboardInterrupt), interrupting():
        close_and_sleep()
    assert done == [1000]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_that_does_not_end_a_wait_is_noticed(number):
    """As if it came just before the wait: another thread gets it, so that nothing wakes the main one."""
    go = threading.Event()

    def work():
        time.sleep(0.1)
        signal.pthread_kill(threading.get_ident(), number)
        return go.wait(60)

    with interrupting(), Threads(1) as threads:
        future = threads.submit(work)
        try:
            with pytest.raises(KeyboardInterrupt):
                list(as_they_end([future]))
            assert not future.done()
        finally:
            go.set()
    assert future.result()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_pull_ends_in_order_if_a_signal_comes_while_c_code_imports(tmp_path, number):
    """msgspec imports datetime and does not look whether that worked."""
    code = f"""
        import os, sys
        from sifmake.cli.main import main
        def hook(event, arguments):
            if event == "import" and arguments[0] == "datetime":
                os.kill(os.getpid(), {int(number)})
        sys.addaudithook(hook)
        main()
    """
    uri = write_image(tmp_path / "image", MIB)
    # Quiet, because a layer may be finished before the signal comes, and is then reported.
    command = [sys.executable, "-c", textwrap.dedent(code), "pull", "-q", str(tmp_path / "a.sif"), uri]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    text = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    assert (ended.returncode, ended.stderr) == (128 + number, f"sifmake: error: {text}\n")
    assert not list(tmp_path.rglob(".tmp-*"))
