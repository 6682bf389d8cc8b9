"""Reports about running programs in images (rows h17 and h38 to h45): variables, folders, binds, and files that go."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support.images import Blobs, write_layout
from support.layers import file, tar
from support.runtime import BUSYBOX, SIFMAKE, environment, needs_runtime, run

pytestmark = needs_runtime(pytest.mark.usefixtures("_own_environment"))


@pytest.fixture(scope="module")
def place():
    """A folder outside of /tmp with a SIF file, and folders with odd names."""
    if not BUSYBOX.is_file():
        pytest.skip("../shared/corpus is not on this machine")
    folder = Path(tempfile.mkdtemp(prefix="sifmake-test-", dir="/var/lib"))
    shutil.copy(BUSYBOX, folder / "tool.sif")
    yield folder
    shutil.rmtree(folder)


def output(place: Path, script: str, *options: str, cwd: Path | None = None, **variables: str) -> list[str]:
    command = ["exec", "--runtime", "builtin", *options, str(place / "tool.sif"), "sh", "-c", script]
    done = run(*command, cwd=cwd or place, env=environment(**variables))
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


def test_h38_variables_that_no_shell_would_take(place):
    odd = {"BASH_FUNC_x%%": "() {  echo hi\n}", "BASH_FUNC_y()": "() { :; }", "A.B": "dot", "1A": "x", "A-B": "y"}
    assert output(place, 'echo "$LINES2"; echo "$QUOTED"', LINES2="one\ntwo", QUOTED="a'b\"c$(d)`e`\\", **odd) == [
        *("one", "two"),
        "a'b\"c$(d)`e`\\",
    ]


@pytest.mark.parametrize("where", ["/tmp", "/opt", "/usr/lib/sifmake-test", "/var/lib"])
def test_h39_the_current_folder_need_not_be_in_the_image(place, where):
    made = not Path(where).exists()
    Path(where).mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sifmake-test-", dir=where))
    try:
        (folder / "file").write_text("content\n")
        assert output(place, "pwd; cat file", cwd=folder) == [str(folder), "content"]
    finally:
        shutil.rmtree(folder)
        if made:
            Path(where).rmdir()


def test_h40_a_current_folder_behind_a_link(place):
    (place / "real").mkdir()
    (place / "real" / "file").write_text("content\n")
    (place / "link").symlink_to("real")
    script = f'cd {place}/link && exec "$@"'
    command = ["exec", "--runtime", "builtin", str(place / "tool.sif"), "cat", "file"]
    done = run(*command, before=["sh", "-c", script, "sh"])
    assert (done.returncode, done.stdout) == (0, b"content\n")


def test_h40_without_a_home_the_current_folder_in_it_is_there(place):
    home = place / "home" / "me"
    (home / "work").mkdir(parents=True)
    (home / "private").touch()
    (home / "work" / "file").touch()
    script = f"ls; ls {home} | grep -c private || true"
    assert output(place, script, "--no-home", cwd=home / "work", HOME=str(home)) == ["file", "0"]


def test_h41_a_bind_of_a_link(place):
    (place / "there").mkdir()
    (place / "there" / "f").write_text("content\n")
    (place / "l").symlink_to("there")
    (place / "lf").symlink_to("there/f")
    assert output(place, "cat /f2 /f3", "-B", "l/f:/f2", "-B", f"{place}/lf:/f3") == ["content"] * 2


ODD = ["a b", "a'b", 'a"b', "a$HOME", "a=b", "é", "a;b", "a&b"]


def test_h42_odd_names_in_binds_mounts_and_as_current_folder(place):
    words, wanted = [], []
    for number, name in enumerate([*ODD, "a:b", "a,b", "a\\b"]):
        folder = place / "odd" / name
        folder.mkdir(parents=True)
        (folder / "file").write_text(f"{number}\n")
        escaped = name.replace("\\", r"\\").replace(":", r"\:").replace(",", r"\,")
        if "\\" not in name:
            words += ["-B", f"{place}/odd/{escaped}:/bind{number}"]
            wanted.append(f"/bind{number}/file")
        if '"' not in name:
            words += ["--mount", f'type=bind,"src={folder}",dst=/mount{number}']
            wanted.append(f"/mount{number}/file")
    numbers = [path.strip("/bindmoutfle") for path in wanted]
    assert output(place, f"cat {' '.join(wanted)}", *words) == numbers
    for name in ("a:b", "a\\b", "é", "a b"):
        assert output(place, "pwd", cwd=place / "odd" / name) == [f"{place}/odd/{name}"]


def test_h43_values_with_commas_quotes_and_brackets(place):
    (place / "env").write_bytes(b'# comment\r\nABC="x(y)"\r\n\nTWO="one\ntwo"\n')
    options = ["--env", "LDFLAGS=-Wl,-rpath,/b", "--env", 'Q=b="c"', "--env-file", str(place / "env")]
    script = 'echo "$LDFLAGS|$Q|$ABC|$TWO"'
    assert output(place, script, *options) == ['-Wl,-rpath,/b|b="c"|x(y)|one', "two"]
    (place / "env").write_text("ABC=x(y)\n")
    done = run("exec", "--runtime", "builtin", *options, str(place / "tool.sif"), "true")
    assert (done.returncode, done.stderr.count(b"\n")) == (255, 1)
    assert b"( outside quotes; write NAME=VALUE lines" in done.stderr


def test_h45_a_file_that_is_replaced_while_it_starts(place):
    """A mover puts one of two whole files in its place again and again: each start runs one of them."""
    for name in ("one", "two", "now"):
        shutil.copy(BUSYBOX, place / f"{name}.sif")
    code = (
        "import os, shutil, sys\nwhile True:\n for n in ('one', 'two'):\n"
        "  shutil.copy(n + '.sif', n + '.new'); os.replace(n + '.new', 'now.sif')\n"
    )
    mover = subprocess.Popen([sys.executable, "-c", code], cwd=place)
    try:
        words = ["exec", "--runtime", "builtin", "now.sif", "echo", "ran"]
        started = [subprocess.Popen([*SIFMAKE, *words], cwd=place, stdout=subprocess.PIPE, env=environment())]
        started += [
            subprocess.Popen(started[0].args, cwd=place, stdout=subprocess.PIPE, env=environment()) for _ in "ab"
        ]
        assert [one.communicate(timeout=60)[0] for one in started] == [b"ran\n"] * 3
    finally:
        mover.kill()
        mover.wait()


def test_h17_a_foreign_architecture_is_named(tmp_path):
    blobs = Blobs()
    foreign = tar(file("bin/tool", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(44), mode=0o755))
    write_layout(tmp_path / "image", blobs, {"1": blobs.image([foreign], platform="linux/arm64")})
    assert run("pull", "--arch", "arm64", "a.sif", "oci:image:1", cwd=tmp_path).returncode == 0
    done = run("exec", "--runtime", "builtin", "a.sif", "/bin/tool", cwd=tmp_path)
    assert done.returncode == 255
    assert b"the image is for aarch64, this machine is x86_64" in done.stderr
    assert done.stderr.count(b"\n") == 1
