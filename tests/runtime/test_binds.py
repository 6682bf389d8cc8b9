"""``--bind`` and ``--mount`` as Apptainer reads them: seen with Apptainer 1.5."""

from __future__ import annotations

import os

import pytest

from sifmake.errors import UsageError
from sifmake.runtime.binds import parse_binds, parse_mount

HERE = os.path.realpath(".")
GOOD = [
    ("/a", [("/a", "/a", "rw")]),
    ("/a:/b", [("/a", "/b", "rw")]),
    ("/a:/b:ro", [("/a", "/b", "ro")]),
    ("/a:/b:ro,rw", [("/a", "/b", "ro")]),
    ("/a:/b:rw,/c", [("/a", "/b", "rw"), ("/c", "/c", "rw")]),
    ("/a:/q,/b:/r:ro", [("/a", "/q", "rw"), ("/b", "/r", "ro")]),
    ("/a:/q,,/b:/r,", [("/a", "/q", "rw"), ("/b", "/r", "rw")]),
    (" /a:/q , /b ", [("/a", "/q", "rw"), ("/b", "/b", "rw")]),
    ("a:/q", [(f"{HERE}/a", "/q", "rw")]),
    (r"/a\,x:/q", [("/a,x", "/q", "rw")]),
    (r"/a\:x:/q:ro", [("/a:x", "/q", "ro")]),
    ("/a,ro", [("/a", "/a", "rw"), (f"{HERE}/ro", f"{HERE}/ro", "rw")]),
    ("/a:/q:image-src=/x,id=2", [("/a", "/q", "data")]),
]


def kind(bind):
    """Return source, target and what may be done with it."""
    return bind.source, bind.target, "data" if bind.data else "ro" if bind.readonly else "rw"


@pytest.mark.parametrize(("text", "want"), GOOD)
def test_binds(text, want):
    assert [kind(bind) for bind in parse_binds([text])] == want


@pytest.mark.parametrize("text", ["/a:/q:", "/a::ro", ":/q", "/a:/q:bad", "/a:q", "/a:/b:ro:/c", "/a:/b:ro:rw:ro"])
def test_wrong_binds(text):
    with pytest.raises(UsageError, match=r"write SOURCE\[:TARGET"):
        parse_binds([text])


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("type=bind,src=/a,dst=/q", ("/a", "/q", "rw")),
        ("type=bind,source=/a,target=/q,ro", ("/a", "/q", "ro")),
        ("src=/a,destination=/q,readonly=false", ("/a", "/q", "ro")),
        ('type=bind,"src=/a,x",dst=/q', ("/a,x", "/q", "rw")),
        ("src=a,dst=/q", (f"{HERE}/a", "/q", "rw")),
        ("src=/a,dst=/q,image-src=/x", ("/a", "/q", "data")),
    ],
)
def test_mounts(text, want):
    assert kind(parse_mount(text)) == want


@pytest.mark.parametrize(
    "text",
    ["type=tmpfs,dst=/q", "src=/a", "dst=/q", "src=/a,dst=/q,foo=1", "src=,dst=/q", "src=/a,dst=q", "", '"src=/a'],
)
def test_wrong_mounts(text):
    with pytest.raises(UsageError):
        parse_mount(text)
