"""The content digest: equal however the file was made, another for every change of what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from sifmake.compare.content_digest import content_digest
from sifmake.sif import DataType, FsType, NewObject, PartType, partition_extra
from sifmake.sif.append import Addition, append_objects, open_for_append
from support.corpus import SIF_FROM_PEERS, needs_corpus
from support.images import Blobs, write_layout
from support.layers import file, folder, hardlink, symlink, tar
from support.signing import pem_pair, signed, write_sif

if TYPE_CHECKING:
    from pathlib import Path

    from support.layers import Entry

CAPABILITY = {"pax_headers": {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20" + "\x00" * 14}}


def base(**fields: object) -> list[Entry]:
    return [folder("etc/"), file("etc/a", b"a" * 200_000, **fields), file("etc/b", b"b"), symlink("etc/l", "a")]


def build(tmp_path: Path, *layers: list[Entry], name: str = "app", options: tuple[str, ...] = ()) -> Path:
    target = tmp_path / f"{name}.sif"
    blobs = Blobs()
    write_layout(tmp_path / name, blobs, {"1": blobs.image([tar(*layer) for layer in layers])})
    assert main(["-q", "pull", "-F", *options, str(target), f"oci:{tmp_path / name}:1"]) == 0
    return target


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))


def test_h7_how_an_image_was_made_does_not_count(tmp_path: Path) -> None:
    one = content_digest(build(tmp_path, base()))
    others = [
        build(tmp_path, base(), name="zstd", options=("--compression", "zstd")),
        build(tmp_path, base(mtime=1_700_000_000), name="time"),
        build(tmp_path, [*base(), file("gone", b"g")], [file(".wh.gone")], name="whiteout"),
        build(tmp_path, base()[:2], base()[2:], name="split"),
    ]
    others.append(signed(build(tmp_path, base(), name="signed"), pem_pair(tmp_path)))
    assert {content_digest(path) for path in others} == {one}


CHANGES: dict[str, list[Entry]] = {
    "bytes": [file("etc/b", b"c")],
    "mode": [file("etc/b", b"b", mode=0o600)],
    "owner": [file("etc/b", b"b", uid=7)],
    "group": [file("etc/b", b"b", gid=7)],
    "added": [file("etc/c", b"")],
    "removed": [file("etc/.wh.b")],
    "target": [symlink("etc/l", "b")],
    "type": [folder("etc/l/")],
    "hard link": [hardlink("etc/b2", "etc/b")],
    "copy": [file("etc/b2", b"b")],
    "attribute": [file("etc/b", b"b", **CAPABILITY)],
}


def test_h7_every_change_counts(tmp_path: Path) -> None:
    found = {"none": content_digest(build(tmp_path, base()))}
    for name, layer in CHANGES.items():
        found[name] = content_digest(build(tmp_path, base(), layer, name="changed"))
    assert len(set(found.values())) == len(CHANGES) + 1, found


@needs_corpus
def test_h7_a_signature_of_a_peer_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("alpine-odd.apptainer.sif", "alpine-odd.apptainer.rsa-signed.sif"):
        assert main(["sif", "digest", str(SIF_FROM_PEERS / name)]) == 0
    first, second = capsys.readouterr().out.split()
    assert first == second
    assert first.startswith("sha256:")


def test_what_has_no_root_file_system_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_sif(tmp_path / "a.sif")
    assert main(["sif", "digest", str(path)]) == 1
    assert capsys.readouterr().err == (
        f"sifmake: error: {path}: the root file system cannot be read: not a squashfs 4.0 file system; "
        "run `sifmake sif list` to see its objects\n"
    )


def test_a_writable_overlay_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = build(tmp_path, base())
    before = content_digest(path)
    extra = partition_extra(FsType.EXT3, PartType.OVERLAY, "amd64")
    with open_for_append(path, path) as sif:
        append_objects(sif, [Addition(NewObject(DataType.PARTITION, 4, group=1, extra=extra), b"ext3")])
    capsys.readouterr()
    assert main(["sif", "digest", str(path)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{before}\n"
    assert (
        "the file has further file systems, for example a writable overlay, which the digest leaves out" in captured.err
    )
