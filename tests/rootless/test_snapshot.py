"""The state of a shell, as each shell prints it, and as text that restores it."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress

import pytest

from sifmake.rootless import script as scripts
from sifmake.rootless.errors import RootlessError
from sifmake.rootless.script import with_marks
from sifmake.rootless.snapshot import read_state

SHELLS = [["dash"], ["bash"], ["bash", "--posix"], ["busybox", "ash"]]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "TERM": "vt100", "http_proxy": "http://u:secret@p", "HOME": "/root"}
SET = rb"""
A='plain'; export B="it's
two lines"; C='$x "q" \ `y`'; D=$(printf 'tab\there\001'); export E=; F=$(printf 'caf\303\251')
export HOME=/elsewhere; TERM=changed; cd /usr; umask 027; set -u; set -C
"""
ASK = b'printf "%s|" "$A" "$B" "$C" "$D" "$E" "$F" "$HOME" "$TERM"; pwd; umask; echo $-; env; echo $UNSET'


@pytest.fixture(params=SHELLS, ids="-".join)
def shell(request, tmp_path, monkeypatch):
    """Run a text as a piece of a script; return output and what it wrote about its state."""
    if not shutil.which(request.param[0]):
        pytest.skip(f"{request.param[0]} is not on this machine")
    monkeypatch.setattr(scripts, "BEFORE", str(tmp_path / "before"))
    monkeypatch.setattr(scripts, "AFTER", str(tmp_path / "after"))

    def run(text, before=b"", *, carry=True):
        (tmp_path / "before").write_bytes(before)
        marked = with_marks(text, ["sh", "x"], restore=bool(before), carry=carry, asked=["greet", "ls", "if"])
        (tmp_path / "script").write_bytes(marked)
        words = [*request.param, "-ex", str(tmp_path / "script")]
        done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, check=False)
        after = tmp_path / "after"
        return done, after.read_bytes() if after.exists() else b""

    return run


def test_state_goes_to_the_next_piece(shell):
    state = read_state(shell(SET)[1], ENVIRONMENT)
    done, _ = shell(ASK, state, carry=False)
    values, _, rest = done.stdout.decode().partition("|/usr\n")
    assert values == 'plain|it\'s\ntwo lines|$x "q" \\ `y`|tab\there\1||caf\u00e9|/elsewhere|changed'
    lines = rest.splitlines()
    assert lines[0] == "0027"
    assert {"C", "e", "u", "x"} <= set(lines[1])
    assert "f" not in lines[1]
    variables = {line.partition("=")[0] for line in lines[2:] if "=" in line}
    assert {"B", "E", "HOME", "PATH", "TERM"} <= variables
    assert not {"A", "C", "D", "F"} & variables
    assert done.returncode  # UNSET is not set


def test_what_comes_from_outside_is_in_no_state(shell):
    state = read_state(shell(b"true")[1], ENVIRONMENT)
    assert b"secret" not in state
    assert b"vt100" not in state
    assert b"HOME='/root'" in state


def test_the_same_state_is_the_same_text(shell):
    first = read_state(shell(SET)[1], ENVIRONMENT)
    again = read_state(shell(b"true", first)[1], ENVIRONMENT)
    assert again == first


def test_a_function_of_an_earlier_piece_says_that_it_is_missing(shell, tmp_path):
    (tmp_path / "file").write_text("greet() { echo hello; }\n")
    state = read_state(shell(b". %s/file; greet" % bytes(tmp_path))[1], ENVIRONMENT)
    done, _ = shell(b"greet; echo not reached", state, carry=False)
    assert done.returncode == 1
    assert b"the function or alias greet of an earlier step does not carry over: make it again" in done.stderr
    assert done.stdout == b""
    done, _ = shell(b". %s/file; greet; ls /" % bytes(tmp_path), state, carry=False)
    assert (done.returncode, done.stdout[:6]) == (0, b"hello\n")


def test_who_leaves_before_the_end_has_no_state(shell):
    assert shell(b"exit 0")[1] == b""


def test_variables_that_were_unset_or_are_not_exported_any_more_do_not_come_back(shell):
    state = read_state(shell(b"unset TERM HOME; HOME=/there")[1], ENVIRONMENT)
    done, _ = shell(b'echo "${TERM-none} $HOME"; env', state, carry=False)
    first, *exported = done.stdout.decode().splitlines()
    assert first == "none /there"
    assert [line for line in exported if line.startswith(("HOME", "TERM"))] == []


def test_a_removed_folder_is_not_a_state(shell, tmp_path):
    """Else the next piece would run in the top folder, perhaps with ``rm -rf *``."""
    done, state = shell(f"mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone".encode())
    assert done.returncode == 0
    reached = b""
    with suppress(RootlessError):
        reached = shell(b"echo reached", read_state(state, ENVIRONMENT), carry=False)[0].stdout
    assert reached == b""


def test_arrays_are_refused():
    printed = b'ex\n0022\n/\n----\n----\n----\n----\nA=([0]="x" [1]="y")\nB=1\n'
    with pytest.raises(RootlessError, match="the array A cannot be carried over"):
        read_state(printed, {})


@pytest.mark.parametrize("printed", [b"", b"x\n----\n----\n----\n", b"ex\n0022\n/\n----\n----\n----\n?=1\n"])
def test_what_is_not_a_state_is_an_error(printed):
    with pytest.raises(RootlessError, match="cannot be read"):
        read_state(printed, {})
