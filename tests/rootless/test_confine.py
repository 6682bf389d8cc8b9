"""A confined program: no keyrings of the user, and no terminal."""

import os
import subprocess
import sys

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
