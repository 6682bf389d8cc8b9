"""A confined program: no keyrings of the user, and no terminal."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sifmake.rootless.calls import tables
from sifmake.rootless.confine import run_confined
from sifmake.rootless.interpreter import program_words

pytestmark = pytest.mark.skipif(not tables(), reason="this architecture has no filter")
ASK = """
import ctypes, os
call = ctypes.CDLL(None, use_errno=True).syscall
print(os.getsid(0) == os.getpid(), *(call({number}, 0, ring, 0) for ring in (-3, -4)))
"""


def test_it_has_a_session_and_no_keys():
    """-3 is the session's keyring, -4 the user's (keyctl(2), KEYCTL_GET_KEYRING_ID)."""
    ask = [sys.executable, "-c", ASK.format(number=tables()[0].calls["keyctl"])]
    before = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()
    after = subprocess.run([*program_words(run_confined), *ask], capture_output=True, text=True, check=True)
    leads, session, user = after.stdout.split()
    assert leads == "True"
    assert session != before[1] or session == "-1"
    assert user == "-1" or os.geteuid() != 0


STAY = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); sys.stdin.read()"


def state_of(pid):
    """Return the command and the state of a process; nothing if there is none."""
    try:
        _, command, rest = Path(f"/proc/{pid}/stat").read_text().replace(")", "(").split("(", 2)
    except FileNotFoundError:
        return "", "X"
    return command, rest.split()[0]


def test_it_ends_with_its_caller():
    caller = [sys.executable, "-c", STAY, *program_words(run_confined), "/bin/sleep", "600"]
    with subprocess.Popen(caller, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        pid = int(process.stdout.readline())
        wait_until(lambda: state_of(pid)[0] == "sleep")
        process.kill()
    wait_until(lambda: state_of(pid)[1] in "XZ")


def wait_until(happened):
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)
