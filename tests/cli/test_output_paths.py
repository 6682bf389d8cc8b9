"""What may stand where a command writes: never a device, a pipe or an open file (rows h30 and h32 of the reports)."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sifmake.cli.main import main
from support.images import Blobs, write_layout
from support.layers import file, tar
from support.raw_server import RawServer
from support.runtime import SIFMAKE as SIFMAKE_AS_MODULE
from support.runtime import as_ordinary, needs_root, open_folder

SIFMAKE = Path(sys.executable).with_name("sifmake")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "keys"))
    blobs = Blobs()
    write_layout(tmp_path / "app", blobs, {"1": blobs.image([tar(file("a", b"a"))])})
    return tmp_path


def run(*words: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([SIFMAKE, *words], capture_output=True, check=False, timeout=60, **options)  # type: ignore[call-overload]


def make_fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def make_device(path: Path) -> Path:
    if os.geteuid():
        pytest.skip("only root makes devices")
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    return path


def make_link_to_device(path: Path) -> Path:
    path.symlink_to(make_device(path.with_name("own-null")))
    return path


def make_link_to_stdout(path: Path) -> Path:
    path.symlink_to("/proc/self/fd/1")
    return path


def make_long_way_to_stdout(path: Path) -> Path:
    path.with_name("second").symlink_to("/proc/self/fd/1")
    path.symlink_to("second")
    return path


IRREGULAR = [make_fifo, make_device, make_link_to_device, make_link_to_stdout, make_long_way_to_stdout]


def facts(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_ino, status.st_mode, status.st_rdev


@pytest.fixture(params=IRREGULAR)
def irregular(request: pytest.FixtureRequest, folder: Path) -> Path:
    return request.param(folder / "odd")


def test_h32_pull_replaces_nothing_that_is_not_a_file(irregular: Path, folder: Path) -> None:
    before = facts(irregular)
    with (folder / "stdout").open("wb") as stdout:
        done = subprocess.run(
            [SIFMAKE, "pull", "-F", "odd", "oci:app:1"],
            stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.decode().startswith("sifmake: error: odd: this is a")
    assert done.stderr.count(b"\n") == 1
    assert facts(irregular) == before
    assert not (folder / "cache" / "packs").exists(), "nothing was read"


def test_h32_standard_output_under_its_names(folder: Path) -> None:
    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        before = Path("/dev/stdout").lstat().st_ino
        done = run("pull", "-F", name, "oci:app:1")
        assert done.returncode == 1
        assert b"this is an open file of a process" in done.stderr
        assert done.stdout == b""
        assert Path("/dev/stdout").lstat().st_ino == before


@pytest.mark.parametrize("signed", [False, True])
def test_h32_a_finished_file_never_replaces_a_pipe_that_came_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, signed: bool
) -> None:
    if signed:
        (folder / "sifmake.yaml").write_text("key: development\n")
    monkeypatch.setattr("sifmake.builder.pull.check_output", lambda _: os.mkfifo("odd"))
    assert main(["pull", "-F", "odd", "oci:app:1"]) == 1
    assert stat.S_ISFIFO(Path("odd").lstat().st_mode)
    assert not list(folder.glob(".tmp-*"))


def test_h32_sign_and_push_take_files_only(irregular: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = facts(irregular)
    assert main(["key", "newpair", "mine"]) == 0
    if not irregular.is_symlink() or irregular.resolve().name == "own-null":
        assert main(["sign", "--key", "mine", str(irregular)]) == 1
        assert "not a regular file" in capsys.readouterr().err
        assert main(["push", str(irregular), "oras://127.0.0.1:1/x"]) == 1
        assert "not a regular file" in capsys.readouterr().err
    assert facts(irregular) == before


def test_h32_settings_of_users_are_files_only(irregular: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = facts(irregular)
    if irregular.is_symlink():
        pytest.skip("a linked auth file is followed (row h33)")
    main(["registry", "login", "--authfile", str(irregular), "-u", "u", "-p", "p", "127.0.0.1:1"])
    assert facts(irregular) == before
    assert "Traceback" not in capsys.readouterr().err


def test_h30_folders_are_refused_before_anything_is_fetched(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "dd").mkdir()
    with RawServer(lambda connection: connection.close()) as server:
        uri = f"docker://{server.host}/app:1"
        for name in ("dd", "dd/", "..", ".", "./"):
            assert main(["pull", "--no-https", "-F", name, uri]) == 1
            error = capsys.readouterr().err
            assert error.startswith(f"sifmake: error: {name}: the output file is a folder; name a file in it") or (
                name.startswith(("dd", "./")) and "the output file is a folder; name a file in it" in error
            )
            assert ".tmp-" not in error
        for words in (["new/"], ["oci:app:1"], ["library://x/y"], ["missing/x.sif"], ["app/index.json/x.sif"], ["-"]):
            assert main(["pull", "--no-https", *words, uri]) in (1, 2)
            assert words[0].rpartition("/")[0][:7] in capsys.readouterr().err
        assert main(["pull", "--no-https", uri, "out"]) == 2
        assert f"sifmake pull out {uri}" in capsys.readouterr().err
        assert main(["pull", "--no-https", "n" * 256, uri]) == 1
        assert "File name too long" in capsys.readouterr().err
    assert server.asked == []
    assert not (folder / "cache" / "packs").exists()


@needs_root
def test_h30_a_folder_that_is_closed_is_told_before_anything_is_fetched() -> None:
    with open_folder() as place, RawServer(lambda connection: connection.close()) as server:
        (place / "closed").mkdir(0o755)
        uri = f"docker://{server.host}/app:1"
        done = subprocess.run(
            [*as_ordinary(fuse=False), *SIFMAKE_AS_MODULE, "pull", "--no-https", "closed/x.sif", uri],
            capture_output=True, check=False, timeout=60, cwd=place,
            env={**os.environ, "SIFMAKE_CACHE": f"{place}/cache", "HOME": str(place)},
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(b"sifmake: error: closed/x.sif: cannot create a file in closed (Permission denied)")
    assert server.asked == []


def test_h30_a_long_name_that_is_not_ascii_is_taken(folder: Path) -> None:
    """255 bytes are allowed for a name; what is written beside it first has its own name."""
    name = "\N{CJK UNIFIED IDEOGRAPH-65E5}" * 80 + ".sif"
    assert main(["pull", name, "oci:app:1"]) == 0
    assert (folder / name).is_file()


@pytest.fixture
def exported(folder: Path) -> bytes:
    assert main(["pull", "x.sif", "oci:app:1"]) == 0
    assert main(["cache", "export", "whole.tar"]) == 0
    return (folder / "whole.tar").read_bytes()


EXPORTS = (["cache", "export"], ["key", "export", "k"], ["key", "export", "-s", "k"])


class TestExportAndImport:
    def test_a_dash_is_standard_output_and_input(self, exported: bytes, folder: Path) -> None:
        done = run("cache", "export", "-")
        assert (done.returncode, done.stdout) == (0, exported)
        assert not (folder / "-").exists()
        other = {**os.environ, "SIFMAKE_CACHE": str(folder / "other")}
        took = run("cache", "import", "-", input=done.stdout, env=other)
        assert took.returncode == 0, took.stderr
        assert b"0 already in the store" in took.stderr
        assert run("cache", "export", "/dev/stdout", env=other).stdout == exported

    def test_a_redirected_file_is_read_from_where_it_stands(self, exported: bytes, folder: Path) -> None:
        (folder / "two").write_bytes(b"head" + exported)
        other = {**os.environ, "SIFMAKE_CACHE": str(folder / "other")}
        with (folder / "two").open("rb") as file:
            os.lseek(file.fileno(), 4, os.SEEK_SET)
            assert run("cache", "import", "/dev/stdin", stdin=file, env=other).returncode == 0

    def test_a_cut_stream_is_refused(self, exported: bytes, folder: Path) -> None:
        other = {**os.environ, "SIFMAKE_CACHE": str(folder / "other")}
        done = run("cache", "import", "-", input=exported[:1500], env=other)
        assert done.returncode == 1
        assert b"not an archive of a store, or truncated" in done.stderr

    def test_pipes_and_devices_are_written_into(self, exported: bytes, folder: Path) -> None:
        fifo = make_fifo(folder / "fifo")
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
        reader.start()
        assert main(["cache", "export", "fifo"]) == 0
        reader.join(30)
        assert got == [exported]
        assert stat.S_ISFIFO(fifo.lstat().st_mode)

    def test_nothing_is_overwritten_unasked(
        self, exported: bytes, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "mine").write_bytes(b"precious")
        assert main(["key", "newpair", "k"]) == 0
        for words in EXPORTS:
            capsys.readouterr()
            assert main([*words, "mine"]) == 1
            assert "mine: the file already exists; use --force" in capsys.readouterr().err
            assert (folder / "mine").read_bytes() == b"precious"
        assert main(["cache", "export", "--force", "mine"]) == 0
        assert (folder / "mine").read_bytes() == exported

    def test_devices_stay_devices(self, folder: Path) -> None:
        null = make_device(folder / "null")
        before = facts(null)
        assert main(["key", "newpair", "k"]) == 0
        for words in EXPORTS:
            assert main([*words, "null"]) == 0
            assert facts(null) == before


def test_keys_go_through_pipes(folder: Path) -> None:
    assert main(["key", "newpair", "k"]) == 0
    done = run("key", "export", "k", "-")
    assert done.stdout.startswith(b"-----BEGIN PUBLIC KEY-----")
    other = {**os.environ, "SIFMAKE_CONFIG_DIR": str(folder / "elsewhere")}
    assert run("key", "import", "-", input=done.stdout, env=other).returncode == 0
    assert b"-----BEGIN" in b"".join(path.read_bytes() for path in (folder / "elsewhere").rglob("*.pem"))


@pytest.mark.parametrize("stage", ["pull", "publish"])
def test_h32_targets_of_projects_are_files_only(folder: Path, capsys: pytest.CaptureFixture[str], stage: str) -> None:
    (folder / "config").mkdir()
    (folder / "config" / "images.yaml").write_text(f"images: {{app: {{from: 'oci:{folder}/app:1'}}}}\n")
    assert main(["lock"]) == 0
    if stage == "publish":
        for name in ("pull", "flatten", "sif", "sign", "verify"):
            assert main(["stage", name, "app"]) == 0
    (folder / "images").mkdir(exist_ok=True)
    fifo = make_fifo(folder / "images" / "app.sif")
    capsys.readouterr()
    assert main(["stage", stage, "app"]) == 1
    assert "images/app.sif: this is a named pipe, which must not be replaced" in capsys.readouterr().err
    assert stat.S_ISFIFO(fifo.lstat().st_mode)


@pytest.mark.parametrize("command", ["pull", "build"])
def test_f14_an_output_that_no_force_replaces_is_not_said_to_need_it(folder: Path, command: str) -> None:
    make_fifo(folder / "pipe")
    for force in ([], ["-F"]):
        done = run(command, *force, "pipe", "oci:app:1")
        assert (
            done.stderr
            == b"sifmake: error: pipe: this is a named pipe, which must not be replaced; name a regular file\n"
        )


@pytest.mark.parametrize(
    "words", [("pull", "OUT", "oci:app:1"), ("build", "OUT", "oci:app:1"), ("cache", "export", "OUT")]
)
def test_h30_a_link_to_nothing_is_not_replaced_unasked(folder: Path, words: tuple[str, ...]) -> None:
    link = folder / "link"
    link.symlink_to("nothing")
    done = run(*(word.replace("OUT", "link") for word in words))
    assert (done.returncode, link.is_symlink()) == (1, True)
    assert b"link: " in done.stderr
    assert b"already exists; use --force" in done.stderr


@pytest.mark.parametrize("command", ["pull", "build"])
@pytest.mark.parametrize(
    ("word", "what"), [("", b"the name of the output file is empty"), ("-", b"cannot be written to standard")]
)
def test_f14_words_that_are_no_output(folder: Path, command: str, word: str, what: bytes) -> None:
    before = sorted(folder.iterdir())
    done = run(command, word, "oci:app:1")
    assert (done.returncode, what in done.stderr) == (2, True)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("words", [("lint", "app"), ("cache", "import", "app")], ids=" ".join)
def test_f14_a_folder_in_place_of_a_file_is_named(words: tuple[str, ...]) -> None:
    assert b": app: Is a directory; name a file\n" in run(*words).stderr


def test_f15_an_image_is_not_its_own_output(folder: Path) -> None:
    assert run("pull", "a.sif", "oci:app:1").returncode == 0
    before = (folder / "a.sif").read_bytes()
    for words in (["a.sif"], ["-F", "a.sif"], ["-F", "file://a.sif"], ["-F", "./a.sif", "a.sif"]):
        assert (
            b"a.sif: the output file is the image itself, so it is not replaced; name another"
            in run("pull", *words).stderr
        )
    assert (folder / "a.sif").read_bytes() == before


@pytest.mark.parametrize("words", [["verify"], ["sif", "list"], ["diff", "app"]], ids=" ".join)
@pytest.mark.parametrize("uri", ["docker://alpine:3.20", "oras://h.example/a"])
def test_f15_a_command_for_files_says_how_to_get_one(words: list[str], uri: str) -> None:
    hint = f"this command takes a SIF file: run `sifmake pull OUT.sif {uri}` first"
    wanted = f"sifmake: error: {uri}: No such file or directory; {hint}\n"
    if words[0] == "diff":
        assert run("pull", "app.sif", "oci:app:1").returncode == 0
        words = ["diff", "app.sif"]
    assert run(*words, uri).stderr.decode() == wanted


@pytest.mark.parametrize("words", [["build", "a.sif"], ["lint"]], ids=" ".join)
def test_f15_a_dockerfile_is_not_told_to_have_colons(folder: Path, words: list[str]) -> None:
    (folder / "Dockerfile").write_text("# x\nFROM alpine:3.20 AS x\nRUN true\n")
    done = run(*words, "Dockerfile")
    assert b"this is a Dockerfile, not a definition file; build it first (podman build" in done.stderr + done.stdout


@pytest.mark.parametrize("words", [["lock"], ["rebuild"], ["seed"]], ids=" ".join)
def test_f15_a_folder_that_is_not_a_project_says_how_to_begin(words: list[str]) -> None:
    assert (
        b"config/images.yaml: there is no such file, so this folder is not a project; run `sifmake init`"
        in run(*words).stderr
    )
