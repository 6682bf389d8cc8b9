"""Programs at a terminal: what a person types, job control, and a window whose size changes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shlex
import shutil
import struct
import tempfile
import termios
import time
from pathlib import Path

import pytest

from support.runtime import (
    BUSYBOX,
    SIFMAKE,
    as_ordinary,
    environment,
    needs_root,
    needs_runtime,
    processes_with,
    wait_until,
)

USERS = {"root": [], "ordinary": as_ordinary(fuse=True)}
OPTIONS = {"plain": [], "contained": ["--containall"]}


class Terminal:
    """A terminal with a command on it, and a person before it."""

    def __init__(self, words, cwd):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            env = environment(PS1="host$ ", TERM="dumb")
            for name in ("COLUMNS", "LINES"):  # busybox takes them for the size of the window
                env.pop(name, None)
            os.execvpe(words[0], words, env)  # noqa: S606

    def wait_for(self, text, seconds=60.0):
        """Read until a text has come; what came before it is forgotten."""
        until = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < until, f"no {text!r} in {self.text!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += os.read(self.fd, 4096).decode()
        before, _, self.text = self.text.partition(text)
        return before

    def type(self, text):
        """Type something."""
        os.write(self.fd, text.encode())

    def resize(self, rows, columns):
        """Change the size of the window."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def status(self):
        """Wait for the end and return the exit status."""
        try:
            while select.select([self.fd], [], [], 60)[0]:
                self.text += os.read(self.fd, 4096).decode()
        except OSError:  # nobody has the terminal open any more
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def sif():
    """A SIF file of its own name; nothing that names it is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sifmake-test-", dir="/var/lib"))
    folder.chmod(0o777)
    shutil.copy(BUSYBOX, folder / "tool.sif")
    (folder / "tool.sif").chmod(0o644)
    yield folder / "tool.sif"
    until = time.monotonic() + 60
    while left := processes_with(str(folder)):
        assert time.monotonic() < until, left
        time.sleep(0.05)
    shutil.rmtree(folder)


@needs_runtime
@needs_root
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("user", USERS)
def test_a_shell(sif, user, options):
    """Typed words, Ctrl-C to the program in the foreground only, the window's size, the shell's own status."""
    terminal = Terminal([*USERS[user], *SIFMAKE, "shell", *OPTIONS[options], str(sif)], sif.parent)
    terminal.wait_for("Apptainer> ")
    terminal.type("echo $((40+2)); tty | cut -c1-5\n")
    terminal.wait_for("\r\n42\r\n")
    terminal.wait_for("Apptainer> ")
    seconds = f"1{os.getpid()}"
    terminal.type(f"echo start; sleep {seconds}\n")
    terminal.wait_for("\r\nstart\r\n")
    wait_until(lambda: processes_with(f"sleep\0{seconds}"))  # before that the shell takes what is typed for its own
    terminal.type("\x03")
    terminal.wait_for("Apptainer> ")
    terminal.type("echo status $?\n")
    terminal.wait_for("\r\nstatus 130\r\n")
    terminal.resize(33, 99)
    terminal.type("stty size\n")
    terminal.wait_for("\r\n33 99\r\n")
    terminal.type("exit 7\n")
    assert terminal.status() == 7


@needs_runtime
@needs_root
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("user", USERS)
def test_the_window_changes(sif, user, options):
    script = "trap 'stty size' WINCH; trap 'exit 5' INT; echo ready; while :; do sleep 0.05; done"
    line = [*USERS[user], *SIFMAKE, "exec", *OPTIONS[options], str(sif), "sh", "-c", script]
    terminal = Terminal(line, sif.parent)
    terminal.wait_for("ready")
    terminal.resize(44, 111)
    terminal.wait_for("44 111")
    terminal.type("\x03")
    assert terminal.status() == 5


@needs_runtime
@needs_root
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("user", USERS)
def test_job_control(sif, user, options):
    """Ctrl-Z stops all of it, so that the shell of the host takes over; fg goes on where it was."""
    script = "echo ready; read x; echo got $x; exit 6"
    line = [*USERS[user], *SIFMAKE, "exec", *OPTIONS[options], str(sif), "sh", "-c", script]
    terminal = Terminal(["bash", "--norc", "--noprofile", "-i"], sif.parent)
    terminal.wait_for("host$ ")
    terminal.type(shlex.join(line).replace("echo ready", 'echo re""ady') + "\n")
    terminal.wait_for("ready")
    terminal.type("\x1a")
    terminal.wait_for("Stopped")
    terminal.wait_for("host$ ")
    terminal.type("jobs | grep -c Stopped\n")
    terminal.wait_for("\r\n1\r\n")
    terminal.type("fg\n")
    terminal.type("hello\n")
    terminal.wait_for("got hello")
    terminal.wait_for("host$ ")
    terminal.type("echo status $?; exit\n")
    terminal.wait_for("status 6")
    terminal.status()
