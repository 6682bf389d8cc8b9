"""Advice that leads on: what was typed wrong, or what the image is, decides the hint (F15 of the issue on faults)."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest

from sifmake.builder.run_cache import ImageToRun, find_or_build
from sifmake.cli.main import main
from sifmake.not_sif import HEAD, describe
from sifmake.progress import Silent
from support.images import Blobs, write_docker_archive, write_layout
from support.layers import file, tar
from support.registry import Answer, FakeRegistry
from support.signing import write_sif

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]):
    """Return the one line that a command ends with."""

    def run(*words: str, status: int = 1) -> str:
        capsys.readouterr()
        assert main(["-q", *words]) == status
        error = capsys.readouterr().err
        assert error.startswith("sifmake: error: ")
        assert error.count("\n") == 1
        return error

    return run


def _archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return out.getvalue()


SQUASHFS = b"hsqs" + bytes(HEAD)
FILES = {
    "app.def": (b"# made by\n\nBootStrap : docker\nFrom: alpine\n", "this is a definition file", "sifmake build"),
    "Dockerfile": (b"# syntax=docker\nFROM alpine\n", "this is a Dockerfile", "podman build"),
    "args": (b"ARG A=1\nFROM alpine:${A}\n", "this is a Dockerfile", "podman build"),
    "lfs.sif": (b"version https://git-lfs.github.com/spec/v1\noid", "this is a Git LFS pointer", "git lfs pull"),
    "page.sif": (b"\n <!DOCTYPE html><html>", "this is a web page", "whether it needs a login"),
    "empty.sif": (b"", "the file is empty", "download it again"),
    "old.img": (SQUASHFS, "a squashfs image made by Singularity 2", "apptainer build NEW"),
    "older.img": (
        b"#!/usr/bin/env run-singularity\n\0" + SQUASHFS,
        "a squashfs image made by Singularity 2",
        "apptainer",
    ),
    "ext3.img": (bytes(1080) + b"\x53\xef" + bytes(900), "a Singularity 2 image", "apptainer build NEW"),
    "saved.tar": (_archive(), "this is an archive", "docker-archive:"),
    "saved.tar.gz": (gzip.compress(_archive()), "this is an archive", "docker-archive:"),
    "noise": (b"\x01\x02\x03" * 1000, "this is not a SIF file", "SIF_MAGIC is missing"),
}


@pytest.mark.parametrize("name", FILES)
def test_h37_every_command_says_what_a_file_is(folder: Path, complaint, name: str) -> None:
    data, what, hint = FILES[name]
    (folder / name).write_bytes(data)
    assert what in describe(data[:HEAD])[0]
    for words in (
        ["pull", "o.sif", f"./{name}"],
        ["inspect", name],
        ["sif", "list", name],
        ["push", name, "oras://h/x"],
    ):
        error = complaint(*words)
        assert what in error
        assert "not a SIF file" in error
        assert hint in error
    error = complaint("exec", "--runtime", "builtin", f"./{name}", "true", status=255)
    assert what in error


@pytest.mark.parametrize(
    "word", ["app.def", "Dockerfile", "web.Dockerfile", "Containerfile", "Singularity", "x/Singularity.2"]
)
def test_what_images_are_made_of_is_not_a_name_of_an_image(complaint, word: str) -> None:
    error = complaint("pull", "o.sif", word, status=2)
    assert "docker://" not in error
    assert "sifmake build" in error or "podman build" in error


@pytest.mark.parametrize("kind", ["manifest", "index", "archive"])
def test_windows_images_are_not_offered(folder: Path, complaint, kind: str) -> None:
    blobs = Blobs()
    image = blobs.image([tar(file("a", b"a"))], platform="windows/amd64")
    uri = "oci:app:1"
    if kind == "archive":
        write_docker_archive(folder / "a.tar", blobs, {"a:1": image})
        uri = "docker-archive:a.tar"
    else:
        write_layout(folder / "app", blobs, {"1": image if kind == "manifest" else blobs.index([image])})
    error = complaint("pull", "o.sif", uri)
    assert "SIF files cannot be made from Windows images" in error
    assert "--platform" not in error


def test_the_platform_that_is_offered_is_one_that_can_be_chosen(folder: Path, complaint) -> None:
    blobs = Blobs()
    offered = ("freebsd/amd64", "linux/pdp11", "linux/s390x", "windows/amd64")
    images = [blobs.image([tar(file("a", name.encode()))], platform=name) for name in offered]
    write_layout(folder / "app", blobs, {"1": blobs.index(images)})
    error = complaint("pull", "--arch", "arm64", "o.sif", "oci:app:1")
    assert "choose one: --platform linux/s390x for `sifmake pull`, `platform: linux/s390x` in images.yaml" in error
    assert main(["pull", "--platform", "linux/s390x", "o.sif", "oci:app:1"]) == 0


@pytest.mark.parametrize("entries", ["unknown", "none"])
def test_an_index_of_unknown_platforms_is_not_a_wrong_path(folder: Path, complaint, entries: str) -> None:
    blobs = Blobs()
    image = blobs.image([tar(file("a", b"a"))])
    unknown = {**image, "platform": {"os": "unknown", "architecture": "unknown"}}
    write_layout(folder / "app", blobs, {"1": blobs.index([unknown] if entries == "unknown" else [])})
    error = complaint("pull", "o.sif", "oci:app:1")
    assert "and none of a known platform; name one of its images by digest" in error
    assert "check the path" not in error


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("library://me/x/tool:1", "write oras://REGISTRY/NAME:TAG"),
        ("docker://h.io/x:1", "write oras://h.io/x:1"),
        ("h.io/x:1", "write oras://h.io/x:1"),
        ("https://h.io/x", "write oras://REGISTRY/NAME:TAG"),
        ("./out.sif", "write oras://REGISTRY/NAME:TAG"),
    ],
)
def test_push_targets_are_corrected_in_one_step(folder: Path, complaint, target: str, hint: str) -> None:
    error = complaint("push", str(write_sif(folder / "a.sif")), target, status=2)
    assert f"{target}: SIF files can only be pushed to oras://; {hint}\n" in error


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (403, "check the name, and that you may push there"),
        (404, "check the name, and that you may push there"),
        (405, "this one accepts no uploads"),
        (412, "quota, immutable tag"),
        (413, "ask the operator to allow larger files"),
        (507, "the registry is full"),
    ],
)
def test_a_refused_push_says_why(folder: Path, complaint, status: int, hint: str) -> None:
    with FakeRegistry() as registry:
        registry.on("POST", "/blobs/uploads/", Answer(status))
        error = complaint("push", "--no-https", str(write_sif(folder / "a.sif")), f"oras://{registry.host}/me/a:1")
    assert hint in error
    assert "check that this is a registry" not in error


@pytest.mark.parametrize("words", [["--nohttps"], [], ["--no-https"]])
def test_plain_http_of_a_push_is_asked_for_as_that_of_a_pull(folder: Path, complaint, monkeypatch, words) -> None:
    if not words:
        monkeypatch.setenv("APPTAINER_NOHTTPS", "1")
    with FakeRegistry() as registry:
        registry.on("POST", "/blobs/uploads/", Answer(403))
        error = complaint("push", *words, str(write_sif(folder / "a.sif")), f"oras://{registry.host}/me/a:1")
    assert "check the name, and that you may push there" in error


@pytest.mark.parametrize("text", ["", "# Written by sifmake\n", "---\n", "null\n"])
def test_an_empty_lock_is_called_empty_and_made_again(folder: Path, complaint, text: str) -> None:
    blobs = Blobs()
    write_layout(folder / "app", blobs, {"1": blobs.image([tar(file("a", b"a"))])})
    (folder / "config" / "locks").mkdir(parents=True)
    (folder / "config" / "images.yaml").write_text("images: {app: {from: 'oci:app:1'}}\n")
    lock = folder / "config" / "locks" / "app.yaml"
    lock.write_text(text)
    assert "config/locks/app.yaml: the lock is empty; run `sifmake lock app`\n" in complaint("stage", "pull", "app")
    assert main(["lock", "app"]) == 0
    assert main(["stage", "pull", "app"]) == 0


ARCHIVES = ("docker-archive", "oci-archive", "oci")


@pytest.mark.parametrize("transport", ARCHIVES)
def test_a_sif_file_in_place_of_an_archive_is_called_one(folder: Path, complaint, transport: str) -> None:
    write_sif(folder / "a.sif")
    error = complaint("pull", "o.sif", f"{transport}:a.sif")
    assert f"{transport}:a.sif: this is a SIF file, not a" in error
    assert error.endswith("; write ./a.sif\n")
    assert main(["-q", "pull", "o.sif", "./a.sif"]) == 0


@pytest.mark.parametrize("name", ["app.def", "Dockerfile", "lfs.sif", "page.sif", "empty.sif", "old.img"])
def test_other_files_in_place_of_an_archive_are_called_what_they_are(folder: Path, complaint, name: str) -> None:
    data, what, hint = FILES[name]
    (folder / name).write_bytes(data)
    for transport in ARCHIVES:
        error = complaint("pull", "o.sif", f"{transport}:{name}")
        assert f"{what}, not a" in error
        assert hint in error
        assert "copy it again" not in error


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("app", "write oci:app for the OCI layout"),
        ("box", "build the folder: sifmake build OUT.sif box"),
        ("saved.tar", "write docker-archive:saved.tar or oci-archive:saved.tar for the archive"),
        ("tool.bin", "write ./tool.bin for the SIF file"),
        ("recipe", "build it: sifmake build OUT.sif recipe"),
        ("absent", "write docker://absent for an image in a registry"),
    ],
)
def test_what_a_word_without_a_transport_names_here_decides_the_hint(
    folder: Path, complaint, name: str, hint: str
) -> None:
    blobs = Blobs()
    write_layout(folder / "app", blobs, {"1": blobs.image([tar(file("a", b"a"))])})
    (folder / "box").mkdir()
    (folder / "saved.tar").write_bytes(_archive())
    write_sif(folder / "a.sif").rename(folder / "tool.bin")
    (folder / "recipe").write_bytes(FILES["app.def"][0])
    assert hint in complaint("pull", "o.sif", name, status=2)


def test_a_layout_given_to_exec_and_inspect_is_called_one(folder: Path, complaint) -> None:
    blobs = Blobs()
    write_layout(folder / "app", blobs, {"1": blobs.image([tar(file("a", b"a"))])})
    assert "write oci:app for the OCI layout" in complaint("inspect", "app")
    assert "write oci:app for the OCI layout" in complaint("exec", "--runtime=builtin", "app", "true", status=255)


@pytest.mark.parametrize("host", ["ghcr.io", "ghcr.io:443", "localhost", "localhost:5000"])
def test_a_registry_without_an_image_is_not_a_name_on_docker_hub(folder: Path, complaint, host: str) -> None:
    write_sif(folder / "a.sif")
    for words in (
        ["push", "a.sif", f"oras://{host}"],
        ["pull", "o.sif", f"oras://{host}"],
        ["pull", f"docker://{host}"],
    ):
        error = complaint(*words, status=2)
        assert f"//{host}: this names a registry, but no image in it; write {words[-1]}/NAME:TAG\n" in error


@pytest.mark.parametrize("transport", ["oci", "docker-archive", "oci-archive"])
def test_offline_advice_fits_the_transport(folder: Path, complaint, transport: str) -> None:
    """What is read from a local file needs no network, so being offline does not keep it away."""
    blobs = Blobs()
    image = blobs.image([tar(file("a", b"a"))])
    write_layout(folder / "app", blobs, {"1": image})
    write_docker_archive(folder / "saved.tar", blobs, {"app:1": image})
    tar_of_layout = shutil.make_archive("layout", "tar", "app")
    path = {"oci": "app", "docker-archive": "saved.tar", "oci-archive": tar_of_layout}[transport]
    found = find_or_build(ImageToRun(f"{transport}:{path}", offline=True), Silent())
    found.close()
    assert found.path.read_bytes()[32:41] == b"SIF_MAGIC"
    error = complaint("exec", "--runtime=builtin", "--offline", f"{transport}:missing", "true", status=255)
    assert error.endswith("the image is not in the store, and the run is offline; check the path\n")
