"""Images of a project that are built: `from: ./tool.def`, build arguments, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sifmake.errors import ConfigError
from sifmake.project.images import load_images
from sifmake.project.lock_file import DisprovedLockError, format_lock, read_lock
from sifmake.project.locks import Build, BuildInputs, BuildLock, LockedBase, LockedFiles
from sifmake.reference.uri import Uri

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.project.images import ImageSettings


def load(folder: Path, text: str) -> dict[str, ImageSettings]:
    path = folder / "config/images.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return load_images(path)


def test_lists_of_arguments_make_an_image_for_each_combination(tmp_path: Path) -> None:
    text = """
images:
  py:
    from: ./py.def
    build-args: {VERSION: ["3.12", "3.13"], FLAVOUR: [Slim, full], SITE: here}
    platforms: [linux/amd64, linux/arm64]
    network: none
    clean: [pip, apt, pip]
    cache-for: 7d
"""
    images = load(tmp_path, text)
    assert len(images) == 8
    image = images["py_3.13_slim_arm64"]
    assert (image.source.given, image.platform) == ("./py.def", "linux/arm64")
    assert image.definition.arguments == {"VERSION": "3.13", "FLAVOUR": "Slim", "SITE": "here"}
    assert (image.definition.network, image.definition.clean) == ("none", ("apt", "pip"))
    assert image.definition.cache_for == "7d"


@pytest.mark.parametrize("name", ["tool.def", "sub/tool.def", "tree"])
def test_a_path_without_a_dot_is_corrected(tmp_path, name):
    path = tmp_path / name
    path.mkdir(parents=True) if name == "tree" else path.parent.mkdir(exist_ok=True)
    if name != "tree":
        path.write_text("Bootstrap: oci\nFrom: base\n")
    with pytest.raises(
        ConfigError, match=rf"images.yaml:1: images.a: {name}: the image has no transport; write \./{name}$"
    ):
        load(tmp_path, f"images: {{a: {{from: {name}}}}}")


@pytest.mark.parametrize("source", ["./tool.def", "./Singularity", "./rootfs.tar.zst", "./folder/", "bundle:b"])
def test_what_is_built_is_told_from_what_is_pulled(tmp_path: Path, source: str) -> None:
    assert load(tmp_path, f"images: {{a: {{from: '{source}'}}}}")["a"].definition is not None


def test_a_sif_file_stays_a_sif_file(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(bytes(32) + b"SIF_MAGIC" + bytes(99))
    for source in ("./a.sif", "./a.simg", "b.img", "./odd", "docker://a", "https://h/a.sif"):
        assert load(tmp_path, f"images: {{a: {{from: '{source}'}}}}")["a"].definition is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("from: ./a.def, tags: [x]", r"images.yaml:1: images.a: 'tags' has no effect on what is built: ./a.def; give"),
        ("from: 'docker://a', network: none", r"1: images.a: 'network' has no effect on an image that is not built"),
        ("from: 'docker://a', build-args: {A: b}", r"'build-args' has no effect"),
        ("from: ./a.def, build-args: {A: 1.2}", r"1: images.a.build-args.A: .*; write \"1.2\""),
        ("from: ./a.def, build-args: {A: []}", r"1: images.a.build-args.A"),
        ("from: ./a.def, build-args: {A: [x y]}", r"the name 'a_x y' does not match"),
        (
            "from: ./a.def, build-args: {A: ['d:1']}",
            r"'a_d:1' does not match.*; what is listed .*: make an entry .*, like a,",
        ),
        ("from: 'docker://a', tags: [X.steps]", r"ends in '.steps'.*; what is listed becomes part of the name"),
        ("from: ./a.def, build-args: {A: [x, X]}", r"images/a_x.sif is already used"),
        ("from: ./a.def, network: host0", r"1: images.a.network: 'host0' is not known; did you mean 'host'"),
        ("from: ./a.def, clean: [npm]", r"1: images.a.clean"),
        ("from: ./a.def, cache-for: 7", r"1: images.a.cache-for"),
        ("from: ./a.def, cache-for: 7y", r"1: images.a.cache-for: '7y' is not written as it should be"),
    ],
)
def test_errors_name_file_line_and_key(tmp_path: Path, settings: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, f"images: {{a: {{{settings}}}}}")


def lock() -> BuildLock:
    digest = "sha256:" + "1" * 64
    inputs = BuildInputs(
        definition=digest,
        platform="linux/amd64",
        arguments={"VERSION": "1.2", "odd name": 'with "quotes": and, commas'},
        network="none",
        clean=("apt", "pip"),
        bases=(
            LockedBase(f"docker.io/library/alpine:3.20@{digest}", "docker://alpine:3.20", digest),
            LockedBase(f"x.sif@{digest}", "https://h/x.sif", digest, 123, '"etag", W/"x: y"'),
        ),
        files=(LockedFiles("src/*.py", digest), LockedFiles("a, b: {c}", digest)),
        renewed={"2" * 64: "2026-11-30T18:00:00Z"},
    )
    build = Build("gzip", {"a": "b"}, "", {"pull": 1, "steps": 1, "flatten": 1, "sif": 2}, "true")
    source = Uri("build", "./tool.def", "./tool.def")
    return BuildLock(source, "tool.def", inputs.digest, "linux/amd64", inputs, build=build)


def test_a_lock_of_a_build_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "tool.yaml"
    path.write_bytes(format_lock(lock()))
    assert read_lock(path) == lock()
    path.write_bytes(b"# another comment\n" + format_lock(lock()).partition(b"\n")[2])
    assert read_lock(path) == lock()


def test_the_mark_of_a_server_is_not_an_input() -> None:
    inputs = lock().inputs
    assert b"etag" not in inputs.text
    assert b"sha256:1111" in inputs.text


def test_a_lock_whose_digest_is_not_that_of_its_inputs_is_disproved(tmp_path: Path) -> None:
    path = tmp_path / "tool.yaml"
    digest = "sha256:" + "9" * 64
    path.write_bytes(format_lock(BuildLock(**{**vars(lock()), "digest": digest})))
    with pytest.raises(DisprovedLockError, match=f"has the digest {digest}, but that of its inputs is sha256:"):
        read_lock(path)


def test_combinations_are_counted_before_they_are_made(tmp_path: Path) -> None:
    values = [str(number) for number in range(200)]
    text = f"images: {{a: {{from: ./a.def, build-args: {{A: {values}, B: {values}, C: {values}, D: {values}}}}}}}"
    with pytest.raises(ConfigError, match=r"the file declares more than 10000 images \(limit images\)"):
        load(tmp_path, text)
