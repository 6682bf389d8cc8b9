"""However a run ends, its processes end with it and nothing is left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sifmake.runtime.children import children_of
from support.rootless import NEEDS_ROOTLESS
from support.sleepers import SECONDS, sleepers, wait_for

pytestmark = NEEDS_ROOTLESS
SLEEPER = f"mkdir -p /a/b; chown 5 /a/b; chmod 0 /a; (trap '' TERM; sleep {SECONDS}) & echo started; sleep {SECONDS}"


def keepers(builder):
    return children_of(builder.process.pid)


def start(builder):
    """Let a script start that would run for a day; return once it does."""
    builder.begin(SLEEPER)
    wait_for(lambda: len(sleepers()) == 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_the_caller_is_interrupted(builder, number):
    start(builder)
    os.kill(builder.process.pid, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
    assert builder.answer().error.startswith("interrupted")
    assert sleepers() == []
    assert builder.left() == []


def test_when_the_keeper_is_killed(builder):
    start(builder)
    for pid in keepers(builder):
        os.kill(pid, signal.SIGKILL)
    assert builder.answer().error.startswith("the process that runs the script was killed")
    wait_for(lambda: sleepers() == [])
    assert builder.left() == []


def test_when_the_caller_is_killed(builder):
    start(builder)
    keeping = keepers(builder)
    builder.kill()
    wait_for(lambda: sleepers() == [])
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in keeping))
    builder.start()
    assert builder.run("true").status == 0
    assert builder.left() == []


def test_when_both_are_killed_the_next_run_sweeps(builder):
    start(builder)
    builder.process.send_signal(signal.SIGSTOP)
    for pid in keepers(builder):
        os.kill(pid, signal.SIGKILL)
    builder.kill()
    wait_for(lambda: sleepers() == [])
    assert builder.left() != []
    builder.start()
    assert builder.run("true").status == 0
    assert builder.left() == []


def test_the_tree_of_a_failed_script_can_stay(builder):
    done = builder.run("echo x > /etc/mine; chown 5 /etc/mine; exit 3", keep=True)
    assert (done.status, builder.left()) == (3, [Path(done.kept).name])
    assert (Path(done.kept) / "etc/mine").read_text() == "x\n"
    assert (Path(done.kept) / "bin/busybox").stat().st_nlink > 300
    builder.do(do="remove", place=Path(done.kept).name)
    assert builder.run("true", keep=True).kept is None
    assert builder.left() == []
