"""``sifmake diff`` reports what changed, whatever the author of an image does to hide it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from sifmake.compare.contents import open_contents
from sifmake.compare.packages import DPKG, PackageLists
from sifmake.errors import SquashfsError
from sifmake.limits import Limits
from sifmake.sif import DataType, NewObject
from sifmake.sif.append import Addition, append_objects, open_for_append
from support.bounded import assert_cheap, assert_refused, run_bounded
from support.hostile_squashfs import Hostile
from support.images import Blobs, write_layout
from support.layers import file, tar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.layers import Entry

CAPABILITY = {"pax_headers": {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20" + "\x00" * 14}}


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))

    def build(name: str, *entries: Entry, options: tuple[str, ...] = ()) -> Path:
        blobs = Blobs()
        write_layout(tmp_path / name, blobs, {"1": blobs.image([tar(*entries)])})
        target = tmp_path / f"{name}.sif"
        assert main(["-q", "pull", "-F", *options, str(target), f"oci:{tmp_path / name}:1"]) == 0
        return target

    return build


def changed(capsys: pytest.CaptureFixture[str], old: Path, new: Path) -> list[str]:
    assert main(["diff", "--json", str(old), str(new)]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    return [path for path in files["changed"] if not path.startswith(".singularity.d")]


@pytest.mark.parametrize("size", [10, 131072, 400_000])
@pytest.mark.parametrize("options", [(), ("--compression", "zstd")])
def test_other_bytes_of_the_same_size_and_time_are_a_change(
    build: Callable[..., Path], capsys: pytest.CaptureFixture[str], size: int, options: tuple[str, ...]
) -> None:
    old = build("old", file("a", b"a" * size), file("b", b"b" * size))
    new = build("new", file("a", b"a" * (size - 1) + b"b"), file("b", b"b" * size), options=options)
    assert changed(capsys, old, new) == ["a"]


def test_a_capability_is_a_change(build: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    old, new = build("old", file("a", b"a")), build("new", file("a", b"a", **CAPABILITY))
    assert changed(capsys, old, new) == ["a"]


def with_document(path: Path, name: str, data: bytes) -> Path:
    with open_for_append(path, path) as sif:
        append_objects(sif, [Addition(NewObject(DataType.GENERIC_JSON, len(data), name=name), data)])
    return path


@pytest.mark.parametrize("name", ["oci-config.json", "oci-manifest.json", "inspect-metadata.json"])
@pytest.mark.parametrize("data", [b"[" * 100_000, b"\xff", b"{", b"[" + b"[]," * 2_600_000 + b"[]]", b"1" * 8_000_000])
def test_documents_of_a_stranger_are_refused_in_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    image = Hostile()
    image.folder(1, b"")
    path = with_document(image.sif(tmp_path / "a.sif"), name, data)
    assert_refused(run_bounded(tmp_path, "diff", path, path))


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b'"x"',
        b'{"config":[]}',
        b'{"layers":[1,{}]}',
        b'{"layers":{}}',
        b'{"data":[]}',
        b'{"data":{"attributes":1}}',
    ],
)
def test_documents_of_another_form_are_no_defect(tmp_path: Path, data: bytes) -> None:
    for name in ("oci-config.json", "oci-manifest.json", "inspect-metadata.json"):
        image = Hostile()
        image.folder(1, b"")
        path = with_document(image.sif(tmp_path / "a.sif"), name, data)
        assert main(["diff", str(path), str(path)]) == 0
        with open_contents(path) as contents:
            assert not contents.labels


def test_package_lists_are_read(tmp_path: Path) -> None:
    lists = PackageLists(Limits(), "a.sif")
    dpkg = b"Package: a\nStatus: install ok installed\nVersion: 1\n\nPackage: b\nStatus: deinstall\nVersion: 2\n"
    lists.read(DPKG, dpkg)
    lists.read(b"lib/apk/db/installed", b"C:x\nP:musl\nV:1.2\n\nP:busybox\nV:1.36\n")
    lists.read(b"usr/lib/python3/site-packages/A_b.dist-info/METADATA", b"Name: A_b\nVersion: 3\n\nVersion: 4\n")
    assert lists.found == {"deb:a": "1", "apk:musl": "1.2", "apk:busybox": "1.36", "python:a-b": "3"}


def test_package_lists_have_limits() -> None:
    lists = PackageLists(Limits(packages=2, package_list_bytes=100), "a.sif")
    lists.count(100)
    with pytest.raises(SquashfsError, match=r"a\.sif: its package lists have more than 100 bytes .*package-list-bytes"):
        lists.count(1)
    lists = PackageLists(Limits(packages=2), "a.sif")
    with pytest.raises(SquashfsError, match="name more than 2 packages"):
        lists.read(b"lib/apk/db/installed", b"P:a\nV:1\n\nP:b\nV:1\n\nP:c\nV:1\n")


def test_names_of_packages_have_a_limit() -> None:
    """A name that has one wide character takes four times its bytes."""
    name = "\U0001f433".encode() + b"n" * 900
    data = b"".join(b"P:%b%d\nV:1\n\n" % (name, n) for n in range(100))
    PackageLists(Limits(package_list_bytes=500_000), "a.sif").read(b"lib/apk/db/installed", data)
    lists = PackageLists(Limits(package_list_bytes=300_000), "a.sif")
    lists.count(len(data))
    with pytest.raises(SquashfsError, match="package-list-bytes"):
        lists.read(b"lib/apk/db/installed", data)


def test_package_lists_take_little_memory(
    build: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = b"".join(b"P:%d\nV:1\n\n" % n for n in range(120_000))
    for number, content in enumerate((names, b"\n" * (60 << 20), b"P:" + b"\xf0\x9f\x98\x80" * (15 << 20))):
        path = build(f"image{number}", file("lib/apk/db/installed", content))
        cost = run_bounded(tmp_path, "diff", path, path)
        assert cost.status in {0, 1}
        assert_cheap(cost)


@pytest.mark.parametrize("command", ["inspect", "diff"])
def test_documents_of_many_small_values_are_a_limit(tmp_path: Path, command: str) -> None:
    labels = b",".join(b'"%x":""' % number for number in range(700_000))
    image = Hostile()
    image.folder(1, b"")
    document = b'{"data":{"attributes":{"labels":{' + labels + b"}}}}"
    path = with_document(image.sif(tmp_path / "a.sif"), "inspect-metadata.json", document)
    cost = run_bounded(tmp_path, *([command, path] if command == "inspect" else [command, path, path]))
    assert_refused(cost)
    assert "inspect-metadata.json is not read: it has more than 300000 values (a limit)" in cost.err


@pytest.mark.parametrize("command", ["inspect", "diff"])
def test_documents_just_below_the_limit_are_read_in_little_memory(tmp_path: Path, command: str) -> None:
    labels = b",".join(b'"%x":"\xc3\xa4"' % number for number in range(299_000))
    image = Hostile()
    image.folder(1, b"")
    document = b'{"data":{"attributes":{"labels":{' + labels + b"}}}}"
    path = with_document(image.sif(tmp_path / "a.sif"), "inspect-metadata.json", document)
    cost = run_bounded(tmp_path, *([command, path] if command == "inspect" else [command, path, path]))
    assert cost.status == 0
    assert_cheap(cost)
