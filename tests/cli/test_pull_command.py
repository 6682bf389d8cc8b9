from __future__ import annotations

import random
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from sifmake.sif import open_sif
from sifmake.sif.format import arch_name
from support import layers
from support.images import Blobs, write_layout
from support.layers import file, tar

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def layout(folder: Path) -> Path:
    blobs = Blobs()
    images = [blobs.image([tar(file("a", platform.encode()))], platform=platform)
              for platform in ("linux/amd64", "linux/arm64", "linux/arm/v7")]  # fmt: skip
    return write_layout(folder / "app", blobs, {"1.0": blobs.index(images)})


def architecture(path: Path) -> str:
    with open_sif(path) as sif:
        return arch_name(sif.header.arch)


def test_the_default_name_and_the_word_order_are_apptainers(layout: Path, folder: Path) -> None:
    assert main(["pull", "oci:app:1.0"]) == 0
    assert (folder / "app_1.0.sif").exists()
    (folder / "sub").mkdir()
    assert main(["pull", "--dir", "sub", "named.sif", "oci:app:1.0"]) == 0
    assert (folder / "sub/named.sif").exists()


def test_the_architecture_and_its_variant_are_named_as_for_apptainer(
    layout: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", "--arch", "arm", "--arch-variant", "7", "pi.sif", "oci:app:1.0"]) == 0
    assert architecture(folder / "pi.sif") == "arm"
    capsys.readouterr()
    assert main(["pull", "--arch", "arm", "--arch-variant", "v6", "old.sif", "oci:app:1.0"]) == 1
    assert "linux/arm/v6" in capsys.readouterr().err
    assert main(["pull", "--platform", "linux/arm", "--arch-variant", "v6", "old.sif", "oci:app:1.0"]) == 2
    assert not (folder / "old.sif").exists()


def test_options_that_change_nothing_stop_no_pull(
    layout: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", "plain.sif", "oci:app:1.0"]) == 0
    assert main(["pull", "--disable-cache", "--reproducible", "same.sif", "oci:app:1.0"]) == 0
    assert (folder / "same.sif").read_bytes() == (folder / "plain.sif").read_bytes()
    assert "SIFMAKE_CACHE" in capsys.readouterr().err


def test_an_existing_file_stays_without_force(layout: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out.sif").write_bytes(b"precious")
    assert main(["pull", "out.sif", "oci:app:1.0"]) == 1
    assert "already exists; use --force to replace it" in capsys.readouterr().err
    assert (folder / "out.sif").read_bytes() == b"precious"
    assert main(["pull", "-F", "out.sif", "oci:nothing:1.0"]) == 1
    assert (folder / "out.sif").read_bytes() == b"precious"
    assert main(["pull", "--force", "out.sif", "oci:app:1.0"]) == 0
    assert (folder / "out.sif").read_bytes()[32:41] == b"SIF_MAGIC"
    assert sorted(path.name for path in folder.iterdir()) == ["app", "cache", "out.sif"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [(["--arch", "arm64"], "arm64"), (["--platform", "linux/arm/v7"], "arm"), (["--arch", "amd64"], "amd64")],
)
def test_the_platform_is_chosen_between_the_words(
    layout: Path, folder: Path, options: list[str], expected: str
) -> None:
    assert main(["pull", "x.sif", *options, "oci:app:1.0"]) == 0
    assert architecture(folder / "x.sif") == expected


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["pull", "a", "b", "c"], 2, "too many arguments"),
        (["pull", "alpine"], 2, "write docker://alpine"),
        (["pull", "--arch", "arm64", "--platform", "linux/amd64", "oci:app"], 2, "--arch and --platform"),
        (["pull", "--platform", "linux/z80", "oci:app:1.0"], 2, "linux/arm/v7"),
        (["pull", "oci:app:2.0"], 1, "2.0"),
    ],
)
def test_errors_are_one_line(
    layout: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    assert main(arguments) == status
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert error.startswith("sifmake: error: ")


def test_a_finished_sif_is_taken_as_it_is(layout: Path, folder: Path) -> None:
    assert main(["pull", "one.sif", "oci:app:1.0"]) == 0
    assert main(["pull", "two.sif", "./one.sif"]) == 0
    assert (folder / "one.sif").read_bytes() == (folder / "two.sif").read_bytes()


def test_c3_a_finished_sif_that_was_cut_off_is_not_taken(
    layout: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pull", "one.sif", "oci:app:1.0"]) == 0
    whole = (folder / "one.sif").read_bytes()
    capsys.readouterr()
    for length in (len(whole) - 1, len(whole) - 4096, 30_000, 1000):
        (folder / "cut.sif").write_bytes(whole[:length])
        for action in (
            "pull -q -F one.sif {}",
            "inspect {}",
            "verify {}",
            "sif list {}",
            "push {} oras://127.0.0.1:9/x",
        ):
            assert main(action.format("./cut.sif").split()) != 0, action
            assert "truncated" in capsys.readouterr().err, action
    assert (folder / "one.sif").read_bytes() == whole
    assert sorted(path.name for path in folder.iterdir()) == ["app", "cache", "cut.sif", "one.sif"]


def test_a_project_signs_what_it_pulls(layout: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config").mkdir()
    (folder / "config/config.yaml").write_text("key: development\n")
    assert main(["pull", "signed.sif", "oci:app:1.0"]) == 0
    assert "development key" in capsys.readouterr().err
    assert main(["verify", "signed.sif"]) == 0
    (folder / "config/config.yaml").write_text("key: nothing.pem\n")
    before = (folder / "signed.sif").read_bytes()
    assert main(["pull", "-F", "signed.sif", "oci:app:1.0"]) == 1
    assert (folder / "signed.sif").read_bytes() == before
    assert not list(folder.glob(".tmp-*"))


def test_zstd_is_said_to_be_apptainers_alone(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", "pull", "--compression", "zstd", "z.sif", "oci:app:1.0"]) == 0
    assert "SingularityCE refuses" in capsys.readouterr().err


def test_what_a_pull_made_of_deleted_files_is_used_by_the_next_and_seen_by_cache(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blobs, chance = Blobs(), random.Random(3)
    lower = tar(*(file(f"f{n}", chance.randbytes(50_000)) for n in range(60)))
    hidden = tar(*(file(f".wh.f{n}") for n in range(0, 60, 2)))
    images = {tag: blobs.image([lower, hidden, tar(file("top", tag.encode()))]) for tag in ("1", "2")}
    write_layout(folder / "app", blobs, images)
    assert main(["pull", "oci:app:1"]) == 0
    patches = list((folder / "cache/patches").rglob("*-*"))
    assert len(patches) == 1
    first = patches[0].stat()
    assert main(["pull", "oci:app:2"]) == 0
    again = patches[0].stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert list((folder / "cache/patches").rglob("*-*")) == patches
    capsys.readouterr()
    assert main(["cache", "list"]) == 0
    assert ", 1 layer patch(es) using " in capsys.readouterr().out
    assert main(["cache", "export", "x.tar"]) == 0
    with tarfile.open(folder / "x.tar") as archive:
        assert not [name for name in archive.getnames() if name.startswith("patches")]
    assert main(["cache", "verify"]) == 0
    patches[0].write_bytes(patches[0].read_bytes()[:-1])
    assert main(["cache", "verify"]) == 1
    assert not patches[0].exists()


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_c5_the_bytes_are_the_same_with_few_threads_or_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    """On a login node nobody gets as many as there are processors."""
    blobs = Blobs()
    layers = [tar(*(file(f"{top}/{n}", random.Random(n).randbytes(200_000)) for n in range(9))) for top in "abc"]
    write_layout(folder / "app", blobs, {"1.0": blobs.image(layers)})
    assert main(["pull", "many.sif", "oci:app:1.0"]) == 0
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def start_few(thread: threading.Thread) -> None:
        if len(started) == allowed:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_few)
    monkeypatch.setenv("SIFMAKE_CACHE", str(folder / "other"))
    assert main(["pull", "few.sif", "oci:app:1.0"]) == 0
    assert len(started) == allowed
    assert (folder / "few.sif").read_bytes() == (folder / "many.sif").read_bytes()


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        ([file("app", b"a")], 1),
        ([layers.folder("bin/"), file("bin/sh", b"a")], 0),
        (
            [
                layers.folder("usr/"),
                layers.folder("usr/bin/"),
                file("usr/bin/sh", b"a"),
                layers.symlink("bin", "usr/bin"),
            ],
            0,
        ),
    ],
)
def test_d16_an_image_without_a_shell_is_told_of_once(
    folder: Path, capsys: pytest.CaptureFixture[str], layer: list, told: int
) -> None:
    blobs = Blobs()
    write_layout(folder / "app", blobs, {"1.0": blobs.image([tar(*layer)])})
    assert main(["pull", "app.sif", "oci:app:1.0"]) == 0
    assert capsys.readouterr().err.count("the image has no /bin/sh, so `sifmake shell`") == told
    assert main(["-q", "pull", "-F", "app.sif", "oci:app:1.0"]) == 0
    assert "/bin/sh" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["oci:app", "out.sif"], 2, "the output file must come before the image; sifmake pull out.sif oci:app"),
        (
            ["no/dir/out.sif", "oci:app:1.0"],
            1,
            "no/dir: the folder of the output file does not exist; run `mkdir -p no/dir`",
        ),
        (["--dir", "a b", "oci:app:1.0"], 1, "a b: the folder of the output file does not exist; run `mkdir -p 'a b'`"),
        (["app/index.json/x.sif", "oci:app"], 1, "app/index.json: not a folder; name"),
    ],
)
def test_errors_say_where_and_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, said: str
) -> None:
    blobs = Blobs()
    write_layout(folder / "app", blobs, {"1.0": blobs.image([tar(file("a", b"a"))])})
    assert main(["-q", "pull", *words]) == status
    err = capsys.readouterr().err
    assert err.startswith(f"sifmake: error: {said}")
    assert err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["app"], "nothing is made on the way"
