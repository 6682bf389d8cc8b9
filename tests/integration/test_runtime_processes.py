"""Signals, exit statuses, standard files and what is left behind, with real containers."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sifmake.runtime.children import children_of
from sifmake.runtime.rootfs import MOUNT_POINTS
from support.corpus import SIF_FROM_PEERS
from support.runtime import (
    BUSYBOX,
    SIFMAKE,
    as_ordinary,
    end_processes_with,
    environment,
    needs_root,
    needs_runtime,
    processes_with,
    run,
    start,
    wait_until,
)
from support.sif_files import partition_of


@pytest.fixture
def sif():
    """A SIF file of its own name in a folder that everybody can read; nothing that names it is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sifmake-test-"))
    folder.chmod(0o755)
    path = folder / "tool.sif"
    shutil.copy(BUSYBOX, path)
    path.chmod(0o644)
    yield str(path)
    try:
        wait_until(lambda: not processes_with(str(folder)))
    finally:
        end_processes_with(str(folder))
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    assert not [
        line for line in mounts if line[1] in MOUNT_POINTS and line[2] in ("squashfs", "overlay", "fuse.squashfuse_ll")
    ]
    shutil.rmtree(folder)


@needs_runtime
@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 250", 250),
        ("exit 255", 255),
        ("kill -INT $$", 130),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
        ("kill -SEGV $$", 139),
    ],
)
def test_status_of_the_program(sif, script, status):
    done = run("exec", sif, "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")


@needs_runtime
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("caught", [True, False])
def test_signal_is_passed_on(sif, number, caught):
    passed_on(sif, number, caught=caught)


@needs_runtime
@needs_root
@pytest.mark.parametrize("user", ["root", "ordinary"])
@pytest.mark.parametrize(
    ("options", "caught"),
    [(["--pid"], True), (["--pid"], False), (["--containall"], False), (["--compat"], True)],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_signal_is_passed_into_a_process_namespace(sif, user, options, caught):
    """Without --no-init (--compat), which makes the program process 1: that one takes what it handles, nothing else."""
    before = as_ordinary(fuse=True) if user == "ordinary" else []
    passed_on(sif, signal.SIGTERM, options, caught=caught, before=before)


def passed_on(sif, number, options=(), *, caught, before=()):
    """Send a signal to sifmake and see what the program makes of it."""
    trap = f"trap 'echo got; exit 3' {number.name[3:]}; " if caught else ""
    script = trap + "echo ready; while :; do sleep 0.05; done"
    process = start("exec", *options, sif, "sh", "-c", script, before=list(before))
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == ((3, b"got\n") if caught else (128 + number, b""))


@needs_runtime
def test_interrupt_of_the_terminal_comes_once(sif):
    """Ctrl-C goes to all processes of the foreground; bwrap must not take the program with it."""
    pid, terminal = pty.fork()
    if pid == 0:
        wait = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done; exit 5"
        script = f"trap 'n=x$n; echo got $n' INT; test -t 0 && test -t 1 && echo ready; {wait}"
        os.execv(SIFMAKE[0], [*SIFMAKE, "exec", sif, "sh", "-c", script])  # noqa: S606
    output = b""
    while b"ready" not in output:
        output += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    try:
        while part := os.read(terminal, 1000):
            output += part
    except OSError:
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    assert output.count(b"got") == 1


@needs_runtime
@needs_root
@pytest.mark.parametrize(
    ("user", "victims"),
    [
        ("root", ["sifmake"]),
        ("root", ["keeper"]),
        ("ordinary", ["sifmake"]),
        ("ordinary", ["keeper"]),
        ("ordinary", ["squashfuse", "sifmake"]),
    ],
)
def test_nothing_outlives_a_killed_process(sif, user, victims):
    """The program has a child that ignores requests to end."""
    script = "(trap '' TERM HUP; echo ready; while :; do sleep 0.05; done) & wait"
    before = as_ordinary(fuse=True) if user == "ordinary" else []
    process = start("exec", sif, "sh", "-c", script, before=before)
    assert process.stdout.readline() == b"ready\n"
    pids = {"sifmake": process.pid} | {program_of(pid): pid for pid in children_of(process.pid)}
    assert set(pids) == {"sifmake", "keeper"} | ({"squashfuse"} if user == "ordinary" else set())
    for victim in victims:
        os.kill(pids[victim], signal.SIGKILL)
    with process:
        process.wait(timeout=60)
    assert process.returncode in (-signal.SIGKILL, 137)
    wait_until(lambda: not processes_with(sif))


def program_of(pid):
    """Return whether a child of sifmake's is squashfuse or the keeper."""
    return "squashfuse" if b"squashfuse" in Path(f"/proc/{pid}/cmdline").read_bytes() else "keeper"


@needs_runtime
def test_background_processes_end_with_the_program(sif):
    done = run("exec", sif, "sh", "-c", "sleep 1000 >/dev/null 2>&1 & exit 4")
    assert done.returncode == 4
    assert processes_with(sif) == []


@needs_runtime
@pytest.mark.parametrize(("closed", "numbers"), [("<&-", "0"), (">&-", "1"), ("2>&-", "2"), ("<&- >&- 2>&-", "012")])
def test_closed_standard_files(sif, closed, numbers, tmp_path):
    """As with the peers, the program finds /dev/null there, and no other file."""
    result = tmp_path / "result"
    script = f'files=$(for n in 0 1 2; do readlink /proc/$$/fd/$n; done); echo "$files" > {result}; cat; exit 6'
    command = [*SIFMAKE, "exec", "--bind", str(tmp_path), sif, "sh", "-c", script]
    words = ["sh", "-c", f'"$@" {closed}', "sh", *command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert done.returncode == 6
    found = result.read_text().splitlines()
    assert [found[int(number)] for number in numbers] == ["/dev/null"] * len(numbers)


@needs_runtime
def test_bytes_pass_unchanged(sif):
    data = os.urandom(300_000)
    assert run("exec", sif, "cat", input=data).stdout == data


@needs_runtime
def test_a_reader_that_goes_away(sif):
    words = ["sh", "-c", '"$@" | head -c 1', "sh", *SIFMAKE, "exec", sif, "yes"]
    assert subprocess.run(words, capture_output=True, timeout=60, check=False).stdout == b"y"


LABELS = ".singularity.d/labels.json"


def labels_of(sif):
    """Return what unsquashfs reads from an image."""
    partition = partition_of(Path(sif))
    return subprocess.run(["unsquashfs", "-cat", partition, LABELS], capture_output=True, check=True).stdout


@needs_runtime
@needs_root
@pytest.mark.parametrize("user", ["root", "ordinary"])
def test_a_hundred_at_once(sif, user):
    """They are of two images: who got another one's mount would show it."""
    other = Path(sif).with_name("other.sif")
    shutil.copy(SIF_FROM_PEERS / "alpine-odd.apptainer.sif", other)
    images, before = [sif, str(other)] * 50, as_ordinary(fuse=True) if user == "ordinary" else []

    def start_one(number):
        return run("exec", images[number], "sh", "-c", f"cat /{LABELS}; echo {number}", before=before)

    with ThreadPoolExecutor(100) as pool:
        done = list(pool.map(start_one, range(100)))
    labels = [labels_of(image) for image in images[:2]]
    assert labels[0] != labels[1]
    assert [(item.returncode, item.stdout, item.stderr) for item in done] == [
        (0, labels[number % 2] + f"{number}\n".encode(), b"") for number in range(100)
    ]


FULL = "mount -t tmpfs -o size=4k,nr_inodes=2,mode=1777 full /tmp; echo x > /tmp/x; "
"""Shell text that leaves neither bytes nor names in /tmp."""


@needs_runtime
@needs_root
@pytest.mark.parametrize("user", ["root", "ordinary", "ordinary, no FUSE"])
def test_full_tmp(sif, user):
    """What is mounted needs no space; an image that has to be unpacked there says so and leaves nothing."""
    copy = f"/var/tmp/{Path(sif).parent.name}.sif"
    fuse = as_ordinary(fuse=True)[:6] if user == "ordinary" else []
    user_words = [] if user == "root" else as_ordinary(fuse=False)
    script = f'cp "$0" {copy}; chmod 644 {copy}; {FULL} cd /; "$@"; s=$?; ls /tmp >&2; exit $s'
    before = [*fuse, "unshare", "-m", "sh", "-c", script, sif, *user_words]
    try:
        env = {name: value for name, value in environment().items() if name != "SIFMAKE_TMPDIR"}
        done = run("exec", copy, "sh", "-c", "echo ok; df /tmp | tail -1", before=before, env=env)
    finally:
        Path(copy).unlink()
    if user == "ordinary, no FUSE":
        assert (done.returncode, done.stdout) == (255, b"")
        assert done.stderr.count(b"\n") == 2
        assert b"No space left on device" in done.stderr
    else:
        assert (done.returncode, done.stdout.split(b"\n")[0]) == (0, b"ok"), done.stderr
        assert b"100% /tmp" in done.stdout
    assert done.stderr.splitlines()[-1] == b"x"


@needs_runtime
@needs_root
@pytest.mark.parametrize("fuse", [True, False])
def test_ordinary_user(sif, fuse):
    script = (
        "id -u; id -g; pwd; touch /tmp/x$$ && rm /tmp/x$$ && echo tmp; touch /x 2>/dev/null || echo readonly;"
        " grep -c 'Cap.*0000000000000000' /proc/self/status"
    )
    done = run("exec", sif, "sh", "-c", script, before=as_ordinary(fuse=fuse), cwd=Path(sif).parent)
    assert done.stdout.decode().split() == ["1000", "1000", str(Path(sif).parent), "tmp", "readonly", "5"], done.stderr


@needs_runtime
@needs_root
def test_unpacked_image_of_a_killed_run_is_swept(sif):
    """Without FUSE an ordinary user's image is unpacked; if everything was killed, the next run removes the remains."""
    folder = Path(sif).parent / "scratch"
    folder.mkdir()
    folder.chmod(0o777)
    env = {**os.environ, "SIFMAKE_TMPDIR": str(folder)}
    user = as_ordinary(fuse=False)
    process = start("exec", sif, "sh", "-c", "echo ready; sleep 1000", before=user, env=env)
    assert process.stdout.readline() == b"ready\n"
    for pid in [process.pid, *children_of(process.pid)]:
        os.kill(pid, signal.SIGKILL)
    with process:
        process.wait()
    for pid in processes_with(sif):
        os.kill(pid, signal.SIGKILL)
    assert len(list(folder.iterdir())) == 1
    assert run("exec", sif, "true", before=user, env=env).returncode == 0
    assert list(folder.iterdir()) == []
