"""Reports about layers (rows h47 to h52): what stands twice or nowhere, tar streams and gzip as odd tools end them."""

from __future__ import annotations

import gzip
import json
import tarfile
from contextlib import ExitStack, closing

import pytest

from sifmake.cli.main import main
from sifmake.errors import LayerError
from support.images import Blobs, write_layout
from support.layers import entry, file, flatten_layers, folder, hardlink, listing, make_pack, symlink, tar

LOWER = [folder("a"), file("a/x", b"1"), file("a/y", b"2"), hardlink("a/z", "a/x"), symlink("l", "a")]
A = "d 755"


def flattened(tmp_path, *layers):
    with ExitStack() as stack:
        rows = listing(*flatten_layers(tmp_path, [tar(*layer) for layer in layers], stack))
    assert rows.pop("") == "d 755"
    return rows


BOTTOM = {"a": A, "a/x": "f 644 1", "a/y": "f 644 2", "a/z": "f 644 1", "l": "l 777 a"}


@pytest.mark.parametrize("between", [[file(".wh.a"), file("b")], [file("a/.wh..wh..opq"), file("a/.wh.x")]])
def test_h47_a_layer_that_stands_twice(tmp_path, between):
    rest = {"b": "f 644 "} if between[0][0].name == ".wh.a" else {}
    assert flattened(tmp_path, LOWER, between, LOWER) == BOTTOM | rest


CASES = {
    "name, then whiteout": ([file("a/x", b"new"), file("a/.wh.x")], {"a/x": "f 644 new"}),
    "whiteout, then name": ([file("a/.wh.x"), file("a/x", b"new")], {"a/x": "f 644 new"}),
    "whiteout and hard link to what it hides": ([file("a/.wh.x"), hardlink("n", "a/z")], {"a/x": None, "n": "f 644 1"}),
    "whiteout and link of the same name": ([file("a/.wh.x"), symlink("a/x", "y")], {"a/x": "l 777 y"}),
    "whiteout and folder of the same name": ([file("a/.wh.x"), folder("a/x")], {"a/x": A}),
    "whiteout that is a folder": ([folder("a/.wh.x")], {"a/x": None}),
    "whiteout that is a link": ([symlink("a/.wh.x", "y")], {"a/x": None}),
    "whiteout that is a hard link": ([file("n"), hardlink("a/.wh.x", "n")], {"a/x": None, "n": "f 644 "}),
    "whiteout of a link to a folder": ([file(".wh.l")], {"l": None}),
    "whiteout below a link": ([file("l/.wh.x")], {"a/x": None}),
    "whiteout of a folder and an entry below": (
        [file(".wh.a"), file("a/n", b"3")],
        {"a/x": None, "a/y": None, "a/z": None, "a/n": "f 644 3"},
    ),
    "opaque and entries before it": (
        [file("a/n", b"3"), file("a/.wh..wh..opq")],
        {"a/x": None, "a/y": None, "a/z": None, "a/n": "f 644 3"},
    ),
    "opaque and a hard link to what it hides": (
        [file("a/.wh..wh..opq"), hardlink("a/n", "a/x")],
        {"a/x": None, "a/y": None, "a/z": None, "a/n": "f 644 1"},
    ),
    "opaque and a link": (
        [file("a/.wh..wh..opq"), symlink("a/n", "x")],
        {**dict.fromkeys(("a/x", "a/y", "a/z")), "a/n": "l 777 x"},
    ),
    "opaque as a folder": ([folder("a/.wh..wh..opq")], dict.fromkeys(("a/x", "a/y", "a/z"))),
    "opaque on the root": ([file(".wh..wh..opq"), file("n")], {**dict.fromkeys(BOTTOM), "n": "f 644 "}),
}


@pytest.mark.parametrize("name", CASES)
def test_h48_whiteouts_beside_new_entries(tmp_path, name):
    layer, changes = CASES[name]
    assert flattened(tmp_path, LOWER, layer) == {k: v for k, v in (BOTTOM | changes).items() if v is not None}


WHOLE = tar(file("a", b"x" * 700), form=tarfile.USTAR_FORMAT)
DATA = 512 + 1024
V7 = WHOLE[:257] + bytes(8) + WHOLE[265:512]


def summed(header: bytes) -> bytes:
    """Return a header with its checksum."""
    blank = header[:148] + b" " * 8 + header[156:512]
    return header[:148] + b"%06o\0 " % sum(blank) + header[156:]


STREAMS = {
    "no end at all": WHOLE[:DATA],
    "one end block": WHOLE[: DATA + 512],
    "no padding of the last file": WHOLE[: 512 + 700],
    "junk behind the end": WHOLE[: DATA + 1024] + b"junk" * 500,
    "v7": summed(V7) + WHOLE[512:],
    "type 7": summed(WHOLE[:156] + b"7" + WHOLE[157:512]) + WHOLE[512:],
    "type NUL": summed(WHOLE[:156] + b"\0" + WHOLE[157:512]) + WHOLE[512:],
}


def contents(tmp_path, raw, blob=None):
    with closing(make_pack(tmp_path / "x.pack", raw, blob=blob)) as pack:
        (one,) = [item for item in pack.stored_entries() if item.path == b"a"]
        return pack.read_content(pack.contents[one.content], one.size)


@pytest.mark.parametrize("name", STREAMS)
def test_h49_tar_streams_that_end_early_or_late(tmp_path, name):
    assert contents(tmp_path, STREAMS[name]) == b"x" * 700


def test_h49_a_size_on_a_link_is_not_content(tmp_path):
    """Old tars say the size of the target in the header of a hard link, and no content follows."""
    link = entry("b", tarfile.LNKTYPE, linkname="a")
    raw = bytearray(tar(file("a", b"x"), link, file("c", b"y"), form=tarfile.USTAR_FORMAT))
    header = bytes(raw[1024:1536])
    raw[1024:1536] = summed(header[:124] + b"00000001274\0" + header[136:])
    with ExitStack() as stack:
        rows = listing(*flatten_layers(tmp_path, [bytes(raw)], stack))
    assert rows == {"": A, "a": "f 644 x", "b": "f 644 x", "c": "f 644 y"}


@pytest.mark.parametrize("behind", [bytes(512), bytes(512) + b"junk"], ids=["zeros", "zeros and junk"])
def test_h50_what_stands_behind_gzip_is_refused_as_by_docker(tmp_path, behind):
    with pytest.raises(LayerError, match="gzip stream has trailing garbage after"):
        contents(tmp_path, WHOLE, gzip.compress(WHOLE, mtime=0) + behind)


def test_h52_labels_of_docker_are_in_the_file(tmp_path, monkeypatch, capsys):
    labels = {
        "quoted": "a \"b\" 'c'",
        "lines": "one\ntwo",
        "": "empty key",
        "dots.and-dashes": "",
        "long": "x" * 65_536,
    }
    blobs = Blobs()
    image = blobs.image([tar(file("etc/motd", b"hello"))], config={"Labels": labels})
    write_layout(tmp_path / "image", blobs, {"1": image})
    monkeypatch.chdir(tmp_path)
    assert main(["-q", "pull", "a.sif", "oci:image:1"]) == 0
    assert main(["inspect", "--json", "--labels", "a.sif"]) == 0
    found = json.loads(capsys.readouterr().out)["data"]["attributes"]["labels"]
    assert {name: found.get(name) for name in labels} == labels
