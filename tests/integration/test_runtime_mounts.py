"""What programs in the container see of the host, as root and as an ordinary user with FUSE and without."""

from __future__ import annotations

import pwd
import shutil
import tempfile
from pathlib import Path

import pytest

from support.runtime import BUSYBOX, as_ordinary, environment, needs_root, needs_runtime, run

USERS = {"root": [], "ordinary": as_ordinary(fuse=True), "ordinary, no FUSE": as_ordinary(fuse=False)}


@pytest.fixture(scope="module")
def place():
    """A folder outside of /tmp that everybody can read and write, with a SIF file and some data."""
    folder = Path(tempfile.mkdtemp(prefix="sifmake-test-", dir="/var/lib"))
    folder.chmod(0o777)
    shutil.copy(BUSYBOX, folder / "tool.sif")
    (folder / "tool.sif").chmod(0o644)
    (folder / "data").mkdir(mode=0o777)
    (folder / "data").chmod(0o777)
    (folder / "data" / "file").write_text("content\n")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=USERS)
def user(request):
    """Words that make the command run as one of the users."""
    return USERS[request.param]


def output(user, place, script, *options, cwd=None, env=None):
    done = run(
        "exec",
        *options,
        str(place / "tool.sif"),
        "sh",
        "-c",
        script,
        before=user,
        cwd=cwd or place,
        env=env or environment(),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


@needs_runtime
@needs_root
def test_current_directory_that_the_image_lacks(user, place):
    script = "pwd; cat data/file; echo new > data/new; stat -c %u data/new"
    uid = "0" if not user else "1000"
    assert output(user, place, script) == [str(place), "content", uid]
    assert (place / "data" / "new").stat().st_uid == int(uid)
    (place / "data" / "new").unlink()


@needs_runtime
@needs_root
@pytest.mark.parametrize(
    ("bind", "script", "want"),
    [
        ("{}/data", "cat {}/data/file", ["content"]),
        ("{}/data:/scratch", "cat /scratch/file; ls /usr | head -1", ["content", "bin"]),
        ("{}/data:/usr/local/deep/er", "cat /usr/local/deep/er/file; ls -d /usr/bin", ["content", "/usr/bin"]),
        ("{}/data/file:/etc/extra.conf", "cat /etc/extra.conf; test -s /etc/group && echo group", ["content", "group"]),
        ("{}/data:/data:ro", "cat /data/file; touch /data/x 2>/dev/null || echo refused", ["content", "refused"]),
        ("{0}/data:/a,{0}/data:/b", "cat /a/file /b/file", ["content", "content"]),
        ("{}/data:/bin/../scratch", "cat /scratch/file", ["content"]),
    ],
)
def test_bind(user, place, bind, script, want):
    assert output(user, place, script.format(place), "--bind", bind.format(place)) == want


@needs_runtime
def test_bind_by_environment(place):
    env = environment(APPTAINER_BIND=f"{place}/data:/from-environment")
    assert output([], place, "cat /from-environment/file; echo $APPTAINER_BIND", env=env) == [
        "content",
        "/from-environment",
    ]


@needs_runtime
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bind", "/no/such/place"], "the path to bind does not exist"),
        (["--bind", "/tmp:relative"], "not an absolute path"),
        (["--bind", "/tmp:/x:rw:y"], "cannot read the bind"),
        (["--bind", "/etc/hostname:/tmp/no/such/folder"], "create this path on the host first"),
        (["--bind", "/tmp:/bin/sh/x"], "cannot mount on /bin/sh/x"),
        (["--pwd", "/no/such"], "does not exist in the container"),
        (["--overlay", "/x"], "--overlay needs apptainer or singularity"),
        (["--runtime", "docker"], "use one of apptainer, singularity, builtin"),
    ],
)
def test_refusals(place, options, message):
    done = run("exec", *options, str(place / "tool.sif"), "true", cwd=place)
    assert done.returncode in (2, 255)
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@needs_runtime
@needs_root
def test_root_is_read_only_unless_asked(user, place):
    assert output(user, place, "touch /x /etc/x /usr/x 2>&1 | grep -c 'Read-only'") == ["3"]
    script = "echo a > /x; echo b > /etc/x; rm /bin/ls; mkdir -p /opt/new; cat /x /etc/x; ls / 2>/dev/null || echo gone"
    assert output(user, place, script, "--writable-tmpfs") == ["a", "b", "gone"]
    assert not Path("/x").exists()


@needs_runtime
@needs_root
def test_contained(user, place):
    script = (
        f'pwd; test -e {place}/data || echo no cwd; ls -A /tmp; ls -A "$HOME"; echo "[$FOO]";'
        ' touch "$HOME/x" /tmp/x && echo writable; ls /dev/shm | wc -l; ps | wc -l'
    )
    lines = output(user, place, script, "--containall", env=environment(FOO="bar"))
    home = Path(pwd.getpwuid(1000 if user else 0).pw_dir)
    assert lines[:-1] == [str(home), "no cwd", "[]", "writable", "0"]
    assert int(lines[-1]) < 8


@needs_runtime
@needs_root
def test_accounts_and_network_files(user, place):
    uid = "0" if not user else "1000"
    script = "id -un; grep -c . /etc/passwd; cat /etc/resolv.conf; echo ---; cat /etc/hosts"
    lines = output(user, place, script)
    assert lines[0] == pwd.getpwuid(int(uid)).pw_name
    assert "\n".join(lines[2:]) == (
        Path("/etc/resolv.conf").read_text() + "---\n" + Path("/etc/hosts").read_text()
    ).rstrip("\n")


@needs_runtime
def test_home(place):
    assert output([], place, "echo $HOME; ls $HOME", "--home", f"{place}/data:/home/me") == ["/home/me", "file"]
    assert output([], place, "test -e /root/.bashrc || echo none", "--no-home") == ["none"]


@needs_runtime
def test_variables(place):
    (place / "variables").write_text("# comment\nA='one two'\nexport B=\"$A three\"\n")
    options = ["--env-file", str(place / "variables"), "--env", "C=1,2", "--env", "D=x"]
    assert output([], place, 'echo "$A|$B|$C|$D"', *options) == ["one two|one two three|1,2|x"]
    env = environment(APPTAINERENV_PREPEND_PATH="/first", SINGULARITYENV_X="s", APPTAINERENV_X="a")
    assert output([], place, 'echo "${PATH%%:*} $X"', env=env) == ["/first a"]


@needs_runtime
def test_current_directory_is_gone(place, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd {gone} && rmdir {gone} && exec "$@"'
    done = run("exec", str(place / "tool.sif"), "pwd", before=["sh", "-c", script, "sh"])
    assert (done.returncode, done.stdout) == (0, b"/\n")
