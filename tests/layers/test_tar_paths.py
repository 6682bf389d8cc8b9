"""Paths and markers: the OCI image spec's layer.md, and what users met (rows b12 to b17)."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sifmake.layers.entry import OPAQUE, WHITEOUT
from sifmake.layers.tar_paths import marker, normalise


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"./", b""),
        (b".", b""),
        (b"/", b""),
        (b"", b""),
        (b"etc/", b"etc"),
        (b"./etc/passwd", b"etc/passwd"),
        (b"/etc/passwd", b"etc/passwd"),
        (b"etc//passwd", b"etc/passwd"),
        (b"etc/./passwd", b"etc/passwd"),
        (b"../../ESCAPE", b"ESCAPE"),
        (b"a/../../b", b"b"),
        (b"a/..b/...", b"a/..b/..."),
        (b".hidden", b".hidden"),
        (b"./.hidden/.x", b".hidden/.x"),
        (b"a/..", b""),
        (b"a///", b"a"),
    ],
)
def test_normalise(name, path):
    assert normalise(name) == path


@given(st.text(alphabet="./ab", max_size=20))
def test_normalise_agrees_with_posixpath(text):
    assert normalise(text.encode()) == posixpath.normpath("/" + text.lstrip("/")).lstrip("/").encode()


@pytest.mark.parametrize(
    ("path", "meaning"),
    [
        (b"a/.wh.b", (WHITEOUT, b"a/b")),
        (b".wh.b", (WHITEOUT, b"b")),
        (b"a/.wh..wh..opq", (OPAQUE, b"a")),
        (b".wh..wh..opq", (OPAQUE, b"")),
        (b"a/.wh.", (0, b"")),
        (b"a/.wh..", (0, b"")),
        (b"a/.wh...", (0, b"")),
        (b"a/.wh..hidden", (WHITEOUT, b"a/.hidden")),
        (b"a/.wh.b/c", (0, b"")),
        (b".wh..wh.plnk/12.34", (-1, b"")),
        (b".wh..wh.orph", (-1, b"")),
        (b".wh..wh.aufs", (-1, b"")),
        (b"a/x.wh.y", None),
        (b"a.wh./y", None),
        (b"a/.whoops", None),
    ],
)
def test_marker(path, meaning):
    assert marker(path) == meaning
