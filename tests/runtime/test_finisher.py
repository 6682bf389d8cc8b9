"""What finishes an image while a program of it runs: a process with a session of its own that ends with sifmake.

Each test runs in a process of its own, because a process with threads, as pytest may be, is not forked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from sifmake.errors import StoreError
from sifmake.runtime.finisher import Finisher

BEGIN = """
import os, signal, sys, time
from sifmake.end_signals import interrupting
from sifmake.errors import StoreError
from sifmake.runtime.finisher import Finisher
finisher = Finisher(lambda text: print(text, file=sys.stderr, flush=True))
"""
NO_ROOM = "the store does not keep the image, so it will be built again: "


def script(text):
    """Run Python text and return what it printed."""
    command = [sys.executable, "-c", BEGIN + text]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split("\n")[:-1]


def test_the_work_has_a_session_of_its_own_and_writes_nothing_to_the_terminal(tmp_path):
    work = f"""
def work():
    print("not seen")
    open({str(tmp_path / "done")!r}, "w").write(f"{{os.getsid(0) == os.getpid()}}")
assert finisher.start(work)
print(repr(finisher.wait()))
"""
    assert script(work) == ["''"]
    assert (tmp_path / "done").read_text() == "True"


def test_errors_become_a_warning():
    work = """
def work():
    raise {}
finisher.start(work)
print(finisher.wait(), end="")
"""
    [told] = script(work.format("OSError(28, 'No space left on device', '/store')"))
    assert told.startswith(f"{NO_ROOM}/store: No space left on device; ")
    assert script(work.format("StoreError('no', where='x')")) == [f"{NO_ROOM}{StoreError('no', where='x')}"]


STOPPED = """
left = sys.argv[1]
def work():
    open(left, "w").close()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        signal.pause()
    finally:
        os.unlink(left)
with interrupting():
    finisher.start(work)
    while not os.path.exists(left):
        time.sleep(0.005)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
os.kill(os.getpid(), signal.SIGINT)
print(repr(finisher.wait()))
"""


def test_the_first_signal_while_sifmake_waits_ends_the_work_which_cleans_up(tmp_path):
    assert script(STOPPED.replace("sys.argv[1]", repr(str(tmp_path / "left")))) == ["''"]
    assert not (tmp_path / "left").exists()


def test_it_ends_when_sifmake_is_killed():
    """The work has the only other end of a pipe, whose end of file shows that it has ended."""
    reader, writer = os.pipe()
    text = f"finisher.start(signal.pause); os.close({writer}); os.kill(os.getpid(), signal.SIGKILL)"
    command = [sys.executable, "-c", BEGIN + text]
    ran = subprocess.run(command, pass_fds=[writer], timeout=30, check=False)
    os.close(writer)
    assert ran.returncode == -signal.SIGKILL
    with os.fdopen(reader) as file:
        assert file.read() == ""


def test_nothing_is_started_beside_threads():
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert not Finisher(print).start(lambda: None)
    finally:
        done.set()
        thread.join()
    assert Finisher(print).wait() == ""
