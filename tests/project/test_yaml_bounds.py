"""What a pull request may write into the three YAML files: each gives one line with file, line and what to write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sifmake.errors import ConfigError, LockError, SifmakeError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.project.configuration import HANDED_ON, hand_on, load_configuration
from sifmake.project.images import load_images
from sifmake.project.lock_file import format_lock, read_lock
from sifmake.project.lock_text import checksum
from sifmake.project.locks import Build, Lock
from sifmake.reference import parse_uri
from support.measured import run_measured

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

IMAGE = "images:\n  a: {from: docker://a}\n"
READERS: dict[str, Callable[[Path], object]] = {
    "config.yaml": lambda path: load_configuration(path, path.parent),
    "images.yaml": load_images,
    "locks/a.yaml": read_lock,
}
DOUBLING = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
LONG_DOUBLING = f"a0: &a0 {'x' * 200_000}\n" + "".join(f"a{n}: *a0\n" for n in range(1, 40))
MERGING = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20))

BAD = {
    "an alias in itself": ("x: 1\ny: &x [*x]\n", 2, "is inside the value"),
    "an alias in a mapping in itself": ("x: &x {a: {b: *x}}\n", 1, "write the value out"),
    "a merge of itself": ("x: &x\n  <<: *x\n", 2, "is inside the value"),
    "doubling aliases": (DOUBLING, 15, "limit yaml-nodes"),
    "doubling text": (LONG_DOUBLING, 6, "limit yaml-bytes"),
    "growing merges": (MERGING, 11, "limit yaml-nodes"),
    "a merge of text": ("x: {<<: 3}\n", 1, "expected a mapping"),
    "a merge sign as text": ("x: <<\n", 1, 'write "<<"'),
    "nested lists": ("x:\n  " + "[" * 60 + "]" * 60, 2, "limit yaml-depth"),
    "nested mappings": ("x:\n  " + "{a: " * 60 + "}" * 60, 2, "limit yaml-depth"),
    "lists that stay open": ("[" * 100_000, 1, "limit yaml-depth"),
    "blocks": ("- " * 100_000, 1, "limit yaml-depth"),
    "a date that is none": ("x: 2026-02-30\n", 1, 'write "2026-02-30"'),
    "a date": ("x: 2026-02-20\n", 1, 'write "2026-02-20"'),
    "5,000 digits": (f"x: {'1' * 5000}\n", 1, "a number of 5000 characters"),
    "5,000 hexadecimal digits": (f"x: 0x{'1' * 5000}\n", 1, "a number of 5002 characters"),
    "a float that is none": ("x: !!float x\n", 1, "'x' is not a number"),
    "an integer that is none": ("x: !!int x\n", 1, "'x' is not a number"),
    "a truth that is none": ("x: !!bool x\n", 1, "'x' is not true or false"),
    "binary": ("x: !!binary aGk=\n", 1, "the tag !!binary"),
    "an object": ("x: !!python/object/apply:os.system [ls]\n", 1, "the tag !!python/object/apply:os.system"),
    "a set": ("x: !!set {a, b}\n", 1, "the tag !!set"),
    "an ordered map": ("x: !!omap [a: b]\n", 1, "the tag !!omap"),
    "a time": ("x: !!timestamp x\n", 1, "the tag !!timestamp"),
    "a tag": ("x: !x y\n", 1, "remove the tag"),
    "many tag directives": ("".join(f"%TAG !a{n}! x:\n" for n in range(40_000)), 1, "delete the line"),
    "a key twice": ("x: 1\ny: 2\nx: 3\n", 3, "delete one of the two"),
    "a number as a key": ("x:\n  1: 2\n", 2, 'write "1"'),
    "a truth as a key": ("x:\n  on: 2\n", 2, 'write "on"'),
    "not a number as a key": ("x:\n  .nan: 2\n", 2, 'write ".nan"'),
    "nothing as a key": ("x:\n  ~: 2\n", 2, 'write "~"'),
    "a list as a key": ("x:\n  [a]: 2\n", 2, "write a name"),
    "a mapping as a key": ("x:\n  {a: b}: 2\n", 2, "write a name"),
    "NUL": ("x:\n  a: \0\n", 2, r"delete the character"),
    "an escaped NUL": ('x:\n  a: "\\0"\n', 2, "delete the"),
    "ESC": ("é:\n  a: \x1b\n", 2, "delete the character"),
    "tabs": ("x:\n\ta: b\n", 2, "indent with blanks"),
    "conflict markers": ("x: 1\n<<<<<<< HEAD\ny: 1\n=======\ny: 2\n>>>>>>> theirs\n", 2, "keep one side"),
    "two documents": ("x: 1\n---\nx: 2\n", 2, "keep one document"),
    "an alias of nothing": ("x: *y\n", 1, "define it with &"),
    "a reserved character": ("x: @y\n", 1, "in quotes"),
    "an open bracket": ("x: [a\n", 2, "bracket"),
    "an open quote": ('x: "a\n', 2, "quote"),
    "two colons": ("x: a: b\n", 1, "in quotes"),
}


@pytest.fixture(params=list(READERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def complaint(tmp_path: Path, name: str, data: bytes) -> str:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    with pytest.raises((ConfigError, LockError)) as caught:
        READERS[name](path)
    assert isinstance(caught.value, LockError if "lock" in name else ConfigError)
    assert len(str(caught.value).removeprefix(str(tmp_path))) < 400
    return str(caught.value)


@pytest.mark.parametrize(("text", "line", "words"), BAD.values(), ids=BAD.keys())
def test_each_is_refused_with_its_line(tmp_path: Path, name: str, text: str, line: int, words: str) -> None:
    said = complaint(tmp_path, name, text.encode())
    assert said.startswith(f"{tmp_path / name}:{line}: ")
    assert words in said or (name.startswith("lock") and "run `sifmake lock a`" in said)


@pytest.mark.parametrize("data", ["x: é".encode("utf-16"), b"x: 1\n" + "x: é".encode("latin-1")])
def test_other_encodings_are_named(tmp_path: Path, name: str, data: bytes) -> None:
    said = complaint(tmp_path, name, data)
    assert "UTF-8" in said or "UTF-16" in said
    assert said.startswith(f"{tmp_path / name}:{1 + data.count(10)}")


def test_a_file_beyond_the_limit_is_not_read_whole(tmp_path: Path, name: str) -> None:
    assert "limit yaml-bytes" in complaint(tmp_path, name, b"#" * (1 << 20) + b"\n")


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/null", "folder", "fifo"])
def test_only_regular_files_are_read(tmp_path: Path, name: str, place: str) -> None:
    """A link in a repository may lead to a device that never ends, or to a pipe that nobody writes to."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(tmp_path / place)
    with pytest.raises(SifmakeError, match="cannot be read"):
        READERS[name](tmp_path / name)


def test_a_byte_order_mark_and_merges_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "images.yaml"
    path.write_text("\ufeffimages:\n  a: &a {from: docker://a, sign: false}\n  b:\n    <<: *a\n    from: docker://b\n")
    found = load_images(path)
    assert [(image.name, image.source.given, image.sign) for image in found.values()] == [
        ("a", "docker://a", False),
        ("b", "docker://b", False),
    ]


def test_an_error_in_a_setting_over_a_merged_one_names_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "images.yaml"
    path.write_text("images:\n  a: &a {from: docker://a, sign: false}\n  b:\n    <<: *a\n    sign: maybe\n")
    with pytest.raises(ConfigError, match=r"images\.yaml:5: images\.b\.sign: 'maybe'"):
        load_images(path)


@pytest.mark.parametrize(("written", "right"), [("1.10", "1.10"), ("on", "on"), ("1:30", "1:30"), ("010", "010")])
def test_text_that_yaml_takes_for_something_else_is_to_be_quoted(tmp_path: Path, written: str, right: str) -> None:
    path = tmp_path / "images.yaml"
    path.write_text(f"images:\n  a:\n    from: docker://a\n    tags: [x, {written}]\n")
    with pytest.raises(ConfigError) as caught:
        load_images(path)
    assert caught.value.where == f"{path}:4: images.a.tags.1"
    assert caught.value.hint == f'write "{right}"'


def test_tags_and_platforms_do_not_multiply_without_end(tmp_path: Path) -> None:
    tags, platforms = (", ".join(f"{start}{n}" for n in range(4000)) for start in ("t", "linux/a"))
    said = complaint(
        tmp_path,
        "images.yaml",
        f"images:\n  a: {{from: docker://a, tags: [{tags}], platforms: [{platforms}]}}".encode(),
    )
    assert "more than 10000 images (limit images)" in said


def test_a_list_of_several_types_is_read_in_bounded_time(tmp_path: Path) -> None:
    """jsonschema would compare each item with each: 30 s."""
    tags = ", ".join(f"t{n}, {n}" for n in range(4900))
    code = (
        "import sys, resource; from pathlib import Path; from sifmake.project.images import load_images\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (5, 5))\n"
        "try:\n    load_images(Path(sys.argv[1]))\nexcept Exception as error:\n    print(error)"
    )
    (tmp_path / "images.yaml").write_text(f"images:\n  a: {{from: docker://a, tags: [{tags}]}}\n")
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "images.yaml"], check=True, capture_output=True, text=True
    )
    assert "is not of type 'string'; write \"" in run.stdout


@pytest.mark.parametrize("value", ["linux/amd64\\n", "linux/arm64\\n"])
def test_patterns_end_where_the_text_ends(tmp_path: Path, value: str) -> None:
    said = complaint(tmp_path, "images.yaml", f'images: {{a: {{from: docker://a, platform: "{value}"}}}}'.encode())
    assert "is not written as it should be" in said


def test_limits_of_the_configuration_count_for_images(tmp_path: Path) -> None:
    from sifmake.project.project import Project

    (tmp_path / "config").mkdir()
    names = "".join(f"  a{n}: {{from: docker://a}}\n" for n in range(2600))
    (tmp_path / "config" / "images.yaml").write_text(f"images:\n{names}")
    (tmp_path / "config" / "config.yaml").write_text("limits: {yaml-nodes: 10000}\n")
    with pytest.raises(ConfigError, match=r"10000 nodes .limit yaml-nodes.; make it smaller, or raise the limit"):
        _ = Project(tmp_path).images
    (tmp_path / "config" / "config.yaml").write_text("limits: {yaml-nodes: 20000}\n")
    assert len(Project(tmp_path).images) == 2600


def test_as_many_images_as_a_file_may_declare_need_no_other_limit(tmp_path: Path) -> None:
    source = "docker://registry.example.org/group/name:1.0"
    lines = (f"  app{n}:\n    from: {source}\n    platform: linux/amd64\n" for n in range(DEFAULT_LIMITS.images))
    (tmp_path / "images.yaml").write_text("images:\n" + "".join(lines))
    assert len(load_images(tmp_path / "images.yaml")) == DEFAULT_LIMITS.images


def steps_to_read(path: Path, count: int) -> int:
    """Return how many instructions of ``yaml_file`` run while a file with so many images is read."""
    path.write_text("images:\n" + "".join(f"  a{n}: {{from: docker://a}}\n" for n in range(count)))
    steps = 0

    def look(frame: FrameType, event: str, _: object) -> object:
        nonlocal steps
        if not frame.f_code.co_filename.endswith("yaml_file.py"):
            return None
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        load_images(path)
    finally:
        sys.settrace(before)
    return steps


def test_one_more_image_takes_as_many_steps_in_a_long_file_as_in_a_short_one(tmp_path: Path) -> None:
    few, more, many = (steps_to_read(tmp_path / "images.yaml", count) for count in (20, 40, 80))
    assert many - more <= 2.1 * (more - few)


def lock_document() -> dict[str, object]:
    digest = f"sha256:{'a' * 64}"
    build = {"compression": "gzip", "labels": {}, "key": "", "formats": {"pull": 1}}
    layers = [{"digest": digest, "size": 1}]
    parts = {"platform": "linux/amd64", "manifest": digest, "config": digest, "layers": layers, "build": build}
    return {"image": f"a:1@{digest}", "from": "docker://a:1", **parts}


def deep(levels: int) -> dict[str, object]:
    value: dict[str, object] = {"a": 1}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "change",
    [
        {"image": 5},
        {"image": "a:1"},
        {"image": "a@sha256:../../x"},
        {"from": ["x"]},
        {"platform": 1.5},
        {"manifest": "sha256:../../../etc/passwd"},
        {"manifest": None},
        {"config": {}},
        {"layers": [{"digest": "sha256:x", "size": 1}]},
        {"layers": [{"digest": f"sha256:{'b' * 64}", "size": -1}]},
        {"layers": [{"digest": f"sha256:{'b' * 64}", "size": 1 << 70}]},
        {"layers": [{"digest": f"sha256:{'b' * 64}", "size": True}]},
        {"layers": [{"digest": f"sha256:{'b' * 64}", "size": "1"}]},
        {"layers": "none"},
        {"build": {"compression": "lzo", "labels": {}, "key": "", "formats": {}}},
        {"build": {"compression": "gzip", "labels": {"a": 1}, "key": "", "formats": {}}},
        {"build": {"compression": "gzip", "labels": deep(20), "key": "", "formats": {}}},
        {"build": {"compression": "gzip", "labels": {}, "key": None, "formats": {}}},
        {"build": {"compression": "gzip", "labels": {}, "key": "", "formats": {"pull": [1]}}},
        {"build": "gzip"},
    ],
)
def test_a_lock_with_a_right_checksum_and_wrong_values_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """The checksum has no key: whoever edits a lock can write one that fits."""
    document = lock_document() | change
    (tmp_path / "a.yaml").write_text(json.dumps({**document, "checksum": checksum(document)}))
    with pytest.raises(LockError, match=r"not a lock file.*; run `sifmake lock a`"):
        read_lock(tmp_path / "a.yaml")


def test_a_lock_that_looks_as_written_is_bounded_too(tmp_path: Path) -> None:
    """Files that sifmake wrote are read without a YAML parser: by indents, and JSON for what is quoted."""
    digest = f"sha256:{'a' * 64}"
    build = Build("gzip", {"l": "x"}, "", {"pull": 1})
    lock = Lock(parse_uri("docker://a"), "a", digest, "linux/amd64", digest, digest, (), build=build)
    text = format_lock(lock).decode()
    nested = "\n".join(f"{'  ' * depth}a:" for depth in range(2, 1200))
    for change in (text.replace("l: x", f"l:\n{nested}\n"), text.replace("l: x", f"l: {'[' * 100_000}")):
        assert change != text
        (tmp_path / "a.yaml").write_text(change)
        with pytest.raises(LockError):
            read_lock(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "left",
    ["[" * 100_000, "{", "[]", "5", '{"stamp": 1}', '{"value": {}}', "NaN", f'{{"stamp": {"1" * 5000}}}', "\ufeff{}"],
)
def test_what_a_variable_holds_that_nobody_passed_on_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    (tmp_path / "c.yaml").write_text("key: development\n")
    monkeypatch.setenv(HANDED_ON, left)
    assert load_configuration(tmp_path / "c.yaml", tmp_path, thorough=False).key == "development"


def test_a_configuration_too_large_for_a_variable_is_not_passed_on(tmp_path: Path) -> None:
    """A variable of 128 KiB lets no program start."""
    (tmp_path / "c.yaml").write_text(f"key: development\nnotify: [{'x' * 130_000}]\n")
    environ: dict[str, str] = {}
    hand_on(tmp_path / "c.yaml", environ)
    assert environ == {}


@pytest.mark.parametrize("name", ["config.yaml", "images.yaml", "locks/a.yaml"])
@pytest.mark.parametrize("piece", ["[", "- ", "a: &a [x]\n", "{a: ", '"x" ', "%TAG !a! b\n", "1", "a: 1\n"])
def test_ten_megabytes_cost_little(tmp_path: Path, name: str, piece: str) -> None:
    """One line, status 1 or 2, at most 5 s of CPU and 256 MiB."""
    (tmp_path / "config" / "locks").mkdir(parents=True)
    (tmp_path / "config" / "images.yaml").write_text(IMAGE)
    (tmp_path / "config" / name).write_text(piece * (10_000_000 // len(piece)))
    command = [str(Path(sys.executable).with_name("sifmake")), "lock", "--offline"]
    ran = run_measured(command, tmp_path)
    said = ran.err
    assert ran.status in (1, 2)
    assert name in said
    assert "defect" not in said
    assert "Traceback" not in said
    assert ran.seconds < 5
    assert ran.memory < 256 << 20
