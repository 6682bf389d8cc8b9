"""Machines without user namespaces: setuid bwrap, squashfuse by fusermount, no mount of the host's left behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support.runtime import (
    BUSYBOX,
    OPEN_FUSE,
    SIFMAKE,
    as_ordinary,
    end_processes_with,
    environment,
    needs_root,
    needs_runtime,
)

NO_NAMESPACES = [sys.executable, str(Path(__file__).parents[1] / "support" / "no_namespaces.py")]
SETUID = "cp /usr/bin/bwrap bwrap && chmod 4755 bwrap && mount --bind bwrap /usr/bin/bwrap\n"
LEFT = """
for i in $(seq 100); do
    grep -q sifmake-run- /proc/self/mounts || pgrep -f "$PWD/tool.sif" >/dev/null || ls tmp | grep -q run- || break
    sleep 0.05
done
grep sifmake-run- /proc/self/mounts
pgrep -a -f "$PWD/tool.sif|squashfuse.*$PWD|fusermount.*$PWD"
ls "$PWD/tmp"
"""


@pytest.fixture
def place():
    """A folder that everybody can read, with a SIF file and a folder for temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="sifmake-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    shutil.copy(BUSYBOX, folder / "tool.sif")
    (folder / "tool.sif").chmod(0o644)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o777)
    yield folder
    end_processes_with(str(folder))
    shutil.rmtree(folder)


def script(place, text, *, fuse=True):
    """Run a shell script as root of such a machine, in which $S is sifmake as an ordinary user."""
    env = environment(S=" ".join([*as_ordinary(fuse=False), *SIFMAKE]), SIFMAKE_TMPDIR=str(place / "tmp"))
    before = ["unshare", "-m", "sh", "-c", OPEN_FUSE, "sh"] if fuse else []
    words = [*before, *NO_NAMESPACES, "sh", "-c", text]
    return subprocess.run(words, env=env, cwd=place, capture_output=True, text=True, timeout=60, check=False)


@needs_runtime
@needs_root
def test_what_is_missing_is_said_on_one_line(place):
    done = script(place, "$S exec tool.sif true")
    assert (done.returncode, done.stdout) == (255, "")
    assert done.stderr == (
        "sifmake: error: user namespaces are not allowed here (user.max_user_namespaces=0), and /usr/bin/bwrap is not"
        " setuid root; as root: `sysctl -w user.max_user_namespaces=15000`, or `chmod u+s /usr/bin/bwrap`, or install"
        " the package apptainer-suid\n"
    )


@needs_runtime
@needs_root
@pytest.mark.parametrize("fuse", [True, False])
def test_setuid_bwrap_runs_it(place, fuse):
    inner = "id -u; id -g; touch /x 2>/dev/null || echo readonly; echo mine > /tmp/x$$ && rm /tmp/x$$; exit 6"
    done = script(place, f"{SETUID} $S exec tool.sif sh -c '{inner}'; echo $?; {LEFT}", fuse=fuse)
    assert done.stdout.splitlines() == ["1000", "1000", "readonly", "6"], done.stderr


@needs_runtime
@needs_root
def test_writable_layer_needs_namespaces(place):
    done = script(place, f"{SETUID} $S exec --writable-tmpfs tool.sif true; echo $?; {LEFT}")
    assert (done.stdout, done.stderr.count("\n")) == ("255\n", 1)
    assert "--writable-tmpfs needs user namespaces" in done.stderr


@needs_runtime
@needs_root
@pytest.mark.parametrize("victims", ["sifmake", "keeper", "squashfuse", "sifmake squashfuse"])
def test_nothing_outlives_a_killed_process(place, victims):
    """The mount is one of the machine's here, so that it does not go by itself."""
    text = f"""{SETUID}
        $S exec tool.sif sh -c "echo > $PWD/tmp/ready; while :; do sleep 0.05; done" &
        sifmake=$!
        while ! test -e tmp/ready; do sleep 0.02; done
        rm tmp/ready
        keeper=$(pgrep -P $sifmake)
        squashfuse=$(pgrep -P $keeper squashfuse)
        for victim in {victims}; do kill -9 $(eval "echo \\$$victim"); done
        test "{victims}" = squashfuse && kill $sifmake
        wait $sifmake
        {LEFT}"""
    done = script(place, text)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
