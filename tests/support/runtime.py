"""Running ``sifmake`` on SIF files in tests, as root and as an ordinary user, and looking for what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from support.corpus import SIF_FROM_PEERS

ORDINARY = 1000
BUSYBOX = SIF_FROM_PEERS / "busybox-musl.apptainer.sif"
OPEN_FUSE = (
    'd=$(mktemp -d -p /tmp) && mount -t tmpfs -o dev fuse "$d" && mknod "$d/fuse" c 10 229 && chmod 666 "$d/fuse" &&'
    ' mount --bind "$d/fuse" /dev/fuse && umount -l "$d" && rmdir "$d" && exec "$@"'
)
"""Shell text: run "$@" where everybody may open /dev/fuse, as on most machines; nobody else sees it."""
SIFMAKE = [sys.executable, "-m", "sifmake"]


def needs_runtime(test):
    """Mark a test that starts containers; it is skipped where the tools for it are missing."""
    missing = [name for name in ("bwrap", "squashfuse", "unsquashfs", "setpriv", "unshare") if not shutil.which(name)]
    test = pytest.mark.skipif(bool(missing), reason=f"not on this machine: {', '.join(missing)}")(test)
    test = pytest.mark.skipif(not BUSYBOX.is_file(), reason="../shared/corpus is not on this machine")(test)
    return pytest.mark.squashfs_tools(pytest.mark.corpus(test))


@contextlib.contextmanager
def open_folder():
    """Give a folder on a disk that everybody can read and write, and remove it afterwards."""
    path = Path(tempfile.mkdtemp(prefix="sifmake-test-", dir="/var/lib"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def needs_root(test):
    """Mark a test that changes users or mounts."""
    return pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")(test)


def as_ordinary(*, fuse: bool) -> list[str]:
    """Return the words that make root run a command as an ordinary user, with or without FUSE."""
    user = ["setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups", "--"]
    return ["unshare", "-m", "sh", "-c", OPEN_FUSE, "sh", *user] if fuse else user


def environment(**values: str) -> dict[str, str]:
    """Return the environment for a command, without options for containers.

    Byte code is kept, so that only the first start compiles. Other users cannot enter the tests' temporary folder.
    """
    left_out = ("PYTHONDONTWRITEBYTECODE", "APPTAINER", "SINGULARITY", "SIFMAKE_TMPDIR")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)} | values


def peer_environment(program: str, **values: str) -> dict[str, str]:
    """Return the environment for a command that uses a peer; what this machine tells it by variables is kept."""
    return {**os.environ, "PATH": f"{Path(program).parent}:{os.environ['PATH']}"} | values


def start(*words: str, before: list[str] | None = None, **options) -> subprocess.Popen[bytes]:
    """Start ``sifmake WORDS``."""
    options = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": environment(),
    } | options
    return subprocess.Popen([*(before or []), *SIFMAKE, *words], **options)


def run(*words: str, before: list[str] | None = None, **options) -> subprocess.CompletedProcess[bytes]:
    """Run ``sifmake WORDS`` to its end."""
    options = {"stdin": subprocess.DEVNULL, "env": environment()} | options
    if "input" in options:
        del options["stdin"]
    return subprocess.run([*(before or []), *SIFMAKE, *words], capture_output=True, timeout=60, check=False, **options)


def peer_program(name: str) -> str:
    """Return the path of apptainer or singularity, from PATH or a folder in $SIFMAKE_PEERS; empty if there is none."""
    return shutil.which(name, path=f"{os.environ.get('SIFMAKE_PEERS', '')}:{os.environ['PATH']}") or ""


def processes_with(text: str) -> list[int]:
    """Return the processes that have a text in their command line or environment, this one left out."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in words:
            found.append(int(folder.name))
    return found


def end_processes_with(text: str):
    """Kill what a test that failed has left running: the processes with the text of its own, say its folder."""
    for _ in range(100):
        left = processes_with(text)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def wait_until(condition, seconds: float = 60.0):
    """Wait until a condition holds and return its value; fail otherwise."""
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, f"not within {seconds} s: {condition}"
        time.sleep(0.02)
    return value
