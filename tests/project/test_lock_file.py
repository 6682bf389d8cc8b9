from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import yaml

from sifmake.errors import LockError
from sifmake.project.lock_file import format_lock, read_lock, write_lock
from sifmake.project.lock_text import checksum
from sifmake.project.locks import Build, Lock, LockedLayer
from sifmake.reference import Uri, parse_uri

if TYPE_CHECKING:
    from pathlib import Path

INDEX, OTHER, MANIFEST, CONFIG, LAYER = (f"sha256:{letter * 64}" for letter in "abcde")


def lock(**changes: object) -> Lock:
    values = {
        "source": parse_uri("docker://lolcow"),
        "name": "ghcr.io/apptainer/lolcow:latest",
        "digest": INDEX,
        "platform": "linux/arm/v7",
        "manifest": MANIFEST,
        "config": CONFIG,
        "layers": (LockedLayer(LAYER, 123), LockedLayer(CONFIG, 1 << 40)),
        "build": Build("gzip", {"yes": "no", "b: c": 'qu"ote\n', "ü": "é"}, "SHA256:abc+/", {"pull": 1, "sif": 2}),
        **changes,
    }
    return Lock(**values)


@pytest.mark.parametrize(
    "value",
    [
        lock(),
        lock(layers=(), build=Build("zstd", {}, "", {})),
        lock(layers=(LockedLayer(LAYER, 1, OTHER), LockedLayer(CONFIG, 2), LockedLayer(INDEX, 3, MANIFEST))),
        lock(name="127.0.0.1:5000/x:1.0", source=parse_uri("oci:a b/c: d # e")),
        lock(build=Build("gzip", {"\U0001f389": "\U0001f680, \\ud83c\\udf89: \x85\u2028\ufffe"}, "", {"pull": 1})),
        lock(name="localhost:5000/a/b:on", build=Build("gzip", {"on": "1e3", "~": "0x10"}, "no", {"pull": 1})),
    ],
)
def test_what_is_written_is_read(tmp_path: Path, value: Lock) -> None:
    path = tmp_path / "x.yaml"
    assert write_lock(path, value)
    assert read_lock(path) == value
    assert not write_lock(path, value)
    path.write_text(f"{path.read_text()}# a person or a tool has edited it\n")
    assert read_lock(path) == value


def test_a_lock_with_two_escapes_for_one_character_is_read(tmp_path: Path) -> None:
    value = lock(build=Build("gzip", {"a": "\U0001f680"}, "", {"pull": 1}))
    path = tmp_path / "x.yaml"
    path.write_text(format_lock(value).decode().replace("\U0001f680", "\\ud83d\\ude80"))  # as before 0.3
    assert read_lock(path) == value


def test_a_lock_without_diff_ids_has_the_bytes_of_before() -> None:
    assert f"  - {{digest: {LAYER}, size: 123}}\n".encode() in format_lock(lock())


def test_the_reference_stands_in_the_form_that_bots_edit() -> None:
    assert f"image: ghcr.io/apptainer/lolcow:latest@{INDEX}\n" in format_lock(lock()).decode()


def test_a_hand_edited_digest_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "lolcow.yaml"
    path.write_bytes(format_lock(lock()).replace(INDEX.encode(), OTHER.encode()))
    with pytest.raises(LockError) as caught:
        read_lock(path)
    assert OTHER in str(caught.value)
    assert caught.value.hint == "run `sifmake lock lolcow`"


def test_reformatting_by_other_tools_is_not_an_edit(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(format_lock(lock()))))
    assert read_lock(path) == lock()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "image: x\n", "a: [\n", "<<<<<<< HEAD\nimage: a\n=======\n", format_lock(lock()).decode()[:200]],
)
def test_damaged_locks_say_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(LockError, match="run `sifmake lock x`"):
        read_lock(path)


def test_a_missing_lock_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="there is no lock; run `sifmake lock x`"):
        read_lock(tmp_path / "x.yaml")


def test_a_written_lock_needs_no_yaml_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.yaml"
    write_lock(path, lock())
    monkeypatch.setattr("sifmake.project.yaml_file.YamlFile.read", None)
    assert read_lock(path) == lock()
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(LockError):
        read_lock(path)


@pytest.mark.parametrize("quoted", [False, True])
def test_a_lock_whose_from_names_no_image_says_what_to_do(tmp_path: Path, *, quoted: bool) -> None:
    """Both as sifmake writes it and as other tools write YAML."""
    document = {**lock().document(), "from": "docker-ish://lolcow"}
    text = json.dumps({**document, "checksum": checksum(document)})
    if not quoted:
        broken = replace(lock(), source=Uri("docker", "lolcow", "docker-ish://lolcow"))
        text = format_lock(broken).decode()
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(
        LockError, match=r"has a 'from' that names no image: docker-ish://lolcow: .*; run `sifmake lock x`"
    ):
        read_lock(tmp_path / "x.yaml")
