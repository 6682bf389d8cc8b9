"""Options where a user meets them: each case's output was seen with Apptainer 1.5, and is asked for again where it is.

The peers are looked for on PATH and in the folders of $SIFMAKE_PEERS. SingularityCE 4.5 does the same but for the cases
that say otherwise.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

from support.runtime import (
    BUSYBOX,
    as_ordinary,
    environment,
    needs_root,
    needs_runtime,
    peer_environment,
    peer_program,
    run,
)

HELLO = Path(__file__).parents[2] / "examples" / "hello" / "layout"
USERS = {"root": [], "ordinary": as_ordinary(fuse=True)}


class Case(NamedTuple):
    """One command in the container and what it prints; ``{}`` stands for the folder of the test."""

    options: str
    script: str
    want: list[str]
    variables: dict[str, str] = {}  # noqa: RUF012 - never changed
    peers: tuple[str, ...] = ("apptainer", "singularity")


APPTAINER = ("apptainer",)
NOBODY: tuple[str, ...] = ()
FILE = "cat /q/file; touch /q/x 2>/dev/null && echo writable"
CASES = {
    "bind": Case("--bind {}/data:/q", FILE, ["content", "writable"]),
    "bind, read-only": Case("--bind {}/data:/q:ro", FILE, ["content"]),
    "bind, both": Case("--bind {}/data:/q:ro,rw", FILE, ["content"]),
    "bind, two": Case("--bind {}/data:/q,{}/more:/r", "cat /q/file /r/file", ["content", "more"]),
    "bind, comma": Case(r"--bind {}/a\,b:/q", "cat /q/file", ["comma"], peers=APPTAINER),
    "bind, twice": Case("--bind {}/data:/q --bind {}/more:/q", "cat /q/file", ["content"]),
    "bind, nested": Case("--bind {}/data:/q", "echo $APPTAINER_BIND", ["/q"], peers=APPTAINER),
    "mount": Case("--mount type=bind,src={}/data,dst=/q", FILE, ["content", "writable"]),
    "mount, read-only": Case("--mount source={}/data,target=/q,ro", FILE, ["content"]),
    "mount, comma": Case('--mount type=bind,"src={}/a,b",dst=/q', "cat /q/file", ["comma"]),
    "scratch": Case(
        "-S /s,/t/u",
        "touch /s/x /t/u/x && ls /s /t; grep -c ' /s tmpfs' /proc/mounts",
        ["/s:", "x", "", "/t:", "u", "1"],
    ),
    "scratch in the image": Case("-S /etc/foo", "ls -A /etc/foo; test -s /etc/passwd && echo there", ["there"]),
    "hostname": Case("--hostname foo", "hostname; cat /etc/hostname", ["foo", "foo"]),
    "uts": Case("--uts", 'test -n "$(hostname)" && readlink /proc/self/ns/uts | cut -c1-3', ["uts"]),
    "dns": Case("--dns 1.2.3.4,::1", "cat /etc/resolv.conf", ["nameserver 1.2.3.4", "nameserver ::1"]),
    "no proc": Case("--no-mount proc", "echo $(ls /proc | wc -l)", ["0"]),
    "no sys": Case("--no-mount sys", "echo $(ls /sys | wc -l)", ["0"]),
    "no tmp": Case("--no-mount tmp --pwd /", "ls -A /tmp | grep -c sifmake-test", ["0"]),
    "no home": Case("--no-mount home,cwd --home {}/data", "ls -A {}/data 2>/dev/null | wc -l", ["0"], peers=NOBODY),
    "no cwd": Case("--no-mount cwd", "test -e {}/data || echo none; pwd | grep -c {}", ["none", "0"]),
    "no hosts": Case(
        "--no-mount /etc/hosts",
        "grep -c ' /etc/hosts ' /proc/mounts; grep -c ' /etc/resolv.conf ' /proc/mounts",
        ["0", "1"],
    ),
    "no bind paths": Case(
        "--no-mount bind-paths", "grep -cE ' /etc/(hosts|localtime|resolv.conf) ' /proc/mounts", ["0"]
    ),
    "contained home": Case("-c --home {}/data", "pwd; cat $HOME/file", ["{}/data", "content"]),
    "home": Case("--home {}/data:/hh", "echo $HOME; cat /hh/file; pwd", ["/hh", "content", "{}"]),
    "home that is missing": Case(
        "--home /nope", "echo $HOME; ls -A /nope; touch /nope/x && echo writable", ["/nope", "writable"]
    ),
    "pwd, odd": Case("--pwd usr/../etc", "pwd; echo $PWD", ["/etc", "/etc"]),
    "pwd": Case("--pwd /etc --cwd /usr", "pwd", ["/usr"]),
    "no env": Case(
        "--no-env FOO,BAR --env BAR=3", 'echo "[$FOO][$BAR]"', ["[][3]"], {"FOO": "1", "BAR": "2"}, APPTAINER
    ),
    "env, several": Case('--env A=1,"B=2,3"', 'echo "[$A][$B]"', ["[1][2,3]"]),
    "env, commas": Case("--env A=1,2 --env B=3", 'echo "[$A][$B]"', ["[1,2][3]"]),
    "env file": Case(
        "--env-file {}/one,{}/two --env E=7",
        'echo "[$A][$B][$C][$D][$E]"',
        ["[2][1-root][x][a,b][7]"],
        {"WHO": "root"},
    ),
    "ipc": Case("--ipc", "test $(readlink /proc/self/ns/ipc) = $IPC || echo other", ["other"], {"IPC": "host's"}),
    "pid": Case("--pid", "test $$ -lt 30 && echo few", ["few"]),
    "no init": Case("--pid --no-init", "echo $$", ["1"]),
    "contained": Case("-C --no-pid", "test $$ -gt 30 && echo many", ["many"], peers=NOBODY),
    "no privileges": Case("--no-privs", "grep -cE 'Cap(Prm|Eff).*0000000000000000' /proc/self/status", ["2"]),
    "user namespace": Case(
        "--userns", "cat /proc/self/uid_map | wc -l; touch /tmp/x$$ && rm /tmp/x$$", ["1"], peers=APPTAINER
    ),
    "unpacked": Case("--unsquash", "ls /bin/sh", ["/bin/sh"], peers=NOBODY),
    "underlay": Case("--underlay --no-nv --no-rocm", "ls /bin/sh", ["/bin/sh"], peers=NOBODY),
    "variables": Case(
        "",
        'cat /q/file /r/file; echo "[$FOO]"; pwd',
        ["content", "more", "[]", "/etc"],
        {
            "APPTAINER_BIND": " {}/data:/q , {}/more:/r",
            "APPTAINER_CLEANENV": "T",
            "SINGULARITY_CLEANENV": "0",
            "FOO": "1",
            "SINGULARITY_PWD": "/etc",
        },
        APPTAINER,
    ),
    "workdir": Case("-S /s -W {}/work", "touch /s/x; cat {}/work/scratch/s/x && echo there", ["there"]),
    "contained in workdir": Case(
        "-c -S /s -W {}/kept --bind {}:/look",
        "touch /s/s ~/h /tmp/t /var/tmp/v; cd /look/kept; ls */* scratch/s/s; stat -c %a home tmp var_tmp scratch/s",
        ["home/h", "scratch/s/s", "tmp/t", "var_tmp/v", "", "scratch/s:", "s", "700", "1777", "1777", "750"],
    ),
    "minimal dev": Case("-c", "ls /dev | grep -E '^(sda|vda|mem|kvm|loop0)' | wc -l; ls /dev/null", ["0", "/dev/null"]),
}
"""Named cases; see also tests/cli/test_running_parse.py."""


@pytest.fixture
def place():
    """A folder that everybody can read and write, with a SIF file and some data."""
    folder = Path(tempfile.mkdtemp(prefix="sifmake-test-", dir="/var/lib"))
    shutil.copy(BUSYBOX, folder / "tool.sif")
    for name, text in (("data", "content\n"), ("more", "more\n"), ("a,b", "comma\n")):
        (folder / name).mkdir()
        (folder / name / "file").write_text(text)
    for name in ("work", "kept"):
        (folder / name).mkdir()
    (folder / "one").write_text('A=1\nexport B="$A-$WHO"\nC=$(echo x)\n# c\nD=a,b\n')
    (folder / "two").write_text("A=2\nE=5\n")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o644)
    yield folder
    shutil.rmtree(folder)


def output(case, place, env, before, *words):
    """Run a case and return the lines of its output."""
    options = [word.replace("{}", str(place)) for word in case.options.split()]
    variables = {name: value.replace("{}", str(place)) for name, value in case.variables.items()}
    script = case.script.replace("{}", str(place))
    line = ["exec", *words, *options, str(place / "tool.sif"), "sh", "-c", script]
    done = run(*line, before=before, cwd=place, env=env | variables)
    return done.stdout.decode().splitlines(), done.stderr.decode()


def wanted(case, place):
    """Return the lines that a case is to print."""
    return [line.replace("{}", str(place)) for line in case.want]


@needs_runtime
@needs_root
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", CASES)
def test_built_in(place, name, user):
    case = CASES[name]
    found, errors = output(case, place, environment(), USERS[user], "--runtime", "builtin")
    assert found == wanted(case, place), errors


@needs_runtime
@needs_root
def test_programs_of_roots_that_become_others_can_read_what_was_made(place):
    before = ["setpriv", "--groups", "0,4242", "--"]
    script = "stat -c %a /etc/resolv.conf /etc/hostname /etc/localtime /etc/group; grep -c :4242: /etc/group"
    options = ["--runtime", "builtin", "--dns", "1.2.3.4", "--hostname", "h"]
    done = run("exec", *options, str(place / "tool.sif"), "sh", "-c", script, before=before, cwd=place)
    assert done.stdout.decode().split() == ["644"] * 4 + ["1"], done.stderr


@needs_runtime
@needs_root
@pytest.mark.parametrize("name", ["scratch", "hostname", "dns", "no proc", "contained in workdir"])
def test_built_in_on_an_unpacked_image(place, name):
    found, errors = output(CASES[name], place, environment(), as_ordinary(fuse=False), "--runtime", "builtin")
    assert found == wanted(CASES[name], place), errors


@needs_runtime
@needs_root
@pytest.mark.peers
@pytest.mark.parametrize(("name", "peer"), [(name, peer) for name, case in CASES.items() for peer in case.peers])
def test_peers(place, name, peer):
    """The same words through a peer, by root: what is expected of us is what they do."""
    program, case = peer_program(peer), CASES[name]
    if not program:
        pytest.skip(f"{peer} is neither on PATH nor in $SIFMAKE_PEERS")
    found, errors = output(case, place, peer_environment(program), [], "-q", "--runtime", peer)
    assert found == wanted(case, place), errors


@needs_runtime
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dns", "bad"], "bad: not an IP address"),
        (["--scratch", "rel"], "rel: the path of a scratch folder must be absolute"),
        (["--scratch", "/s", "--workdir", "/no/such"], "the working directory cannot be used"),
        (["--mount", "type=tmpfs,dst=/q"], "write type=bind,src=SOURCE"),
        (["--bind", "/tmp:/q:image-src=/x"], "only apptainer and singularity can bind files inside an image"),
        (["--env", "A"], "not an assignment"),
        (["--writable"], "SIF files are read-only"),
        (["--app", "x"], "--app needs apptainer or singularity"),
        (["--cleanenv=maybe"], "cleanenv"),
    ],
)
def test_refusals(place, options, message):
    done = run("exec", "--runtime", "builtin", *options, str(place / "tool.sif"), "true", cwd=place)
    assert done.returncode in (2, 255)
    assert message in done.stderr.decode()


@needs_runtime
@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--docker-login", "sifmake registry login"),
        ("--docker-host=tcp://localhost:1", "DOCKER_HOST"),
    ],
)
def test_what_is_done_otherwise_for_uris(place, option, hint):
    done = run("exec", option, "docker://localhost:1/a/b", "true")
    assert (done.returncode, hint in done.stderr.decode()) == (255, True)
    assert run("exec", option, str(place / "tool.sif"), "true").returncode == 0


@needs_runtime
@pytest.mark.parametrize(
    ("option", "variables"), [("--disable-cache", {}), ("--env=A=1", {"APPTAINER_DISABLE_CACHE": "1"})]
)
def test_a_cache_that_is_not_wanted_stops_no_run(tmp_path, option, variables):
    env = environment(SIFMAKE_CACHE=str(tmp_path), **variables)
    done = run("run", "--runtime", "builtin", option, f"oci:{HELLO}", "reader", env=env)
    assert (done.returncode, done.stdout) == (0, b"Hello, reader!\n")
    assert b"SIFMAKE_CACHE=DIR" in done.stderr


@needs_runtime
@needs_root
def test_an_image_that_may_not_be_unpacked(place):
    line = ["exec", "--no-tmp-sandbox", str(place / "tool.sif"), "true"]
    assert run(*line, before=as_ordinary(fuse=True)).returncode == 0
    done = run(*line, before=as_ordinary(fuse=False))
    assert (done.returncode, b"may not be unpacked" in done.stderr) == (255, True)


@needs_runtime
def test_warnings(place):
    done = run("exec", "--no-mount", "bad,tmp", str(place / "tool.sif"), "true")
    assert (done.returncode, done.stderr) == (0, b"sifmake: warning: there is no mount named bad\n")
    done = run("shell", str(place / "tool.sif"), "-c", "echo no", input=b"echo $SHELL\n")
    assert (done.returncode, done.stdout) == (0, b"/bin/sh\n")
    assert b"arguments after the image are ignored" in done.stderr


@needs_runtime
@pytest.mark.parametrize(
    ("line", "status", "stdout"),
    [("exec {} -- ls", 255, b""), ("run {} -- echo hi", 0, b"hi\n"), ("run --no-eval {} -- echo hi", 255, b"")],
)
def test_dashes_behind_the_image(place, line, status, stdout):
    """A runscript evaluates its words by ``set``, which eats the first ``--``; nothing else does."""
    done = run(*line.format(place / "tool.sif").split())
    assert (done.returncode, done.stdout) == (status, stdout)


@needs_runtime
@needs_root
def test_descriptors_and_devices_stay_the_callers(place):
    """With its own /dev, standard output is still the caller's file."""
    done = run("exec", "-c", str(place / "tool.sif"), "sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert os.path.exists("/dev/null")
