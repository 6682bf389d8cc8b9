from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sifmake.errors import ConfigError
from sifmake.project.images import find_image, load_images

if TYPE_CHECKING:
    from pathlib import Path


def load(folder: Path, text: str):
    path = folder / "images.yaml"
    path.write_text(text)
    return load_images(path)


def test_defaults_are_overridden_and_labels_are_added(tmp_path: Path) -> None:
    images = load(
        tmp_path,
        """
defaults: {compression: zstd, labels: {site: here, owner: us}, sign: false}
images:
  a: {from: "docker://alpine:3.20"}
  b: {from: "docker://alpine:3.20", compression: gzip, sign: true, labels: {owner: me}, platform: linux/arm/v7}
""",
    )
    assert images["a"].compression == "zstd"
    assert not images["a"].sign
    assert images["a"].platform == "linux/amd64"
    assert images["b"].compression == "gzip"
    assert images["b"].sign
    assert images["b"].labels == {"site": "here", "owner": "me"}
    assert images["b"].platform == "linux/arm/v7"


def test_tags_and_platforms_expand(tmp_path: Path) -> None:
    images = load(
        tmp_path,
        """
images:
  py:
    from: docker://python
    tags: ["3.12", "3.13-Slim"]
    platforms: [linux/amd64, linux/arm/v7]
""",
    )
    assert {name: (image.source.given, image.platform) for name, image in images.items()} == {
        "py_3.12_amd64": ("docker://python:3.12", "linux/amd64"),
        "py_3.12_armv7": ("docker://python:3.12", "linux/arm/v7"),
        "py_3.13-slim_amd64": ("docker://python:3.13-Slim", "linux/amd64"),
        "py_3.13-slim_armv7": ("docker://python:3.13-Slim", "linux/arm/v7"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images:\n  a:\n    form: x\n    from: y\n", ":3: images.a.form: unknown key 'form'; did you mean 'from'?"),
        ("images:\n  a:\n    tags: [x]\n", ":2: images.a: the key 'from' is missing"),
        ("imges: {}\n", ":1: imges: unknown key 'imges'; did you mean 'images'?"),
        ("images:\n  a: {from: x, compression: ztsd}\n", "'ztsd' is not known; did you mean 'zstd'?"),
        ("images:\n  a: {from: x, labels: {n: 1}}\n", ":2: images.a.labels.n: 1 is not of type 'string'"),
        ("images:\n  a: {from: x, platforms: [amd64]}\n", ":2: images.a.platforms.0: "),
        ("images:\n  a: {from: x}\n  a: {from: y}\n", ":3: the key 'a' occurs twice"),
        ("images:\n  a: {from: x}\n b: 1\n", "not valid YAML"),
        ("images:\n  A=B: {from: x}\n", "try 'a-b'"),
        ("images:\n  -: {from: x}\n", "try 'image'"),
        (
            "images:\n  a_1: {from: 'docker://x:1'}\n  a: {from: 'docker://x', tags: ['1']}\n",
            ":3: images.a: the target images/a_1.sif is already used by",
        ),
        ("images:\n  a: {from: 'docker://x:1', tags: ['1']}\n", "'from' already has a tag or digest"),
        ("images:\n  a: {from: 'alpine:3'}\n", ":2: images.a: "),
        ("images:\n  a: {from: 'dcoker://alpine:3'}\n", ":2: images.a: "),
    ],
)
def test_errors_name_line_key_and_what_would_be_right(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "images.yaml"))


def test_an_unknown_image_is_told_the_nearest(tmp_path: Path) -> None:
    images = load(tmp_path, "images: {lolcow: {from: 'docker://lolcow'}}")
    with pytest.raises(ConfigError, match=r"there is no image 'lolcwo'; did you mean 'lolcow'\?"):
        find_image(images, "lolcwo")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "~\n", "images:\n#  a: {from: x}\n", "defaults:\nimages:\n"])
def test_f5_a_list_whose_lines_are_all_comments_is_empty(tmp_path, text):
    path = tmp_path / "images.yaml"
    path.write_text(text)
    assert load_images(path) == {}


def test_f5_labels_may_be_empty(tmp_path):
    path = tmp_path / "images.yaml"
    path.write_text("defaults:\n  labels:\nimages:\n  a:\n    from: docker://alpine\n    labels:\n")
    assert load_images(path)["a"].labels == {}


def test_a_name_cannot_be_that_of_a_lock_of_steps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'a\.steps' ends in '\.steps'.*try 'a-steps'"):
        load(tmp_path, "images: {a.steps: {from: 'oci:x:1'}}")


@pytest.mark.parametrize(
    ("text", "key"), [("images:\n  a:\n", "images.a"), ("images:\n  a:\n    from:\n", "images.a.from")]
)
def test_f5_a_key_without_a_value_is_named(tmp_path, text, key):
    path = tmp_path / "images.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"{key}: the key has no value; write one, or delete the line"):
        load_images(path)
