"""When a build is killed, everything ends that its sections have started, wherever they run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from support.building import Works, needs_scripts
from support.sleepers import SECONDS, sleepers, wait_for

STAY = (
    f"(setsid sleep {SECONDS} >/dev/null 2>&1 </dev/null &)\n"  # a daemon: its parent has ended
    f"(trap '' INT TERM HUP; sleep {SECONDS}) & sleep {SECONDS}\n"
)


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return Works(tmp_path_factory.mktemp("works"))


@pytest.fixture
def started(works, tmp_path):
    """Start a build that stays in a section; whatever is left of it is ended."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SIFMAKE_CACHE": str(works.folder / "store")}
    environ |= {"SIFMAKE_TMPDIR": str(tmp_path)}
    running = []

    def start(section):
        definition = tmp_path / "tool.def"
        definition.write_text(f"Bootstrap: oci\nFrom: {works.folder / 'base'}\n\n%{section}\n{STAY}")
        words = [sys.executable, "-m", "sifmake", "build", "--allow-host-sections", "out.sif", definition]
        running.append(subprocess.Popen(words, cwd=tmp_path, env=environ, stderr=subprocess.DEVNULL))
        wait_for(lambda: len(sleepers()) == 3)
        return running[0]

    yield start
    for process in running:
        process.kill()
        process.wait()
    for pid in sleepers():
        os.kill(pid, signal.SIGKILL)


@needs_scripts
@pytest.mark.parametrize("section", ["pre", "setup", "post", "test"])
def test_nothing_of_a_section_goes_on_when_sifmake_is_killed(started, section):
    started(section).kill()
    wait_for(lambda: sleepers() == [])


@needs_scripts
@pytest.mark.parametrize("section", ["pre", "test"])
def test_an_interrupt_ends_all_of_it(started, section):
    build = started(section)
    build.send_signal(signal.SIGINT)
    assert build.wait() == 130
    wait_for(lambda: sleepers() == [])
