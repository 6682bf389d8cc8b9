"""On the way from a command line to a SIF file nothing is opened, resolved, loaded or parsed twice."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from contextlib import contextmanager

import pytest

from sifmake.builder.image_cache import ImageCache
from sifmake.builder.indexes import resolve_image
from sifmake.cli.main import main
from sifmake.cli.running_image import opened_image
from sifmake.cli.running_parse import parse_plain
from sifmake.project.configuration import load_configuration
from sifmake.reference.uri import parse_uri
from sifmake.sources.opening import open_sif_source, open_source
from sifmake.store import Store
from support.counting_registry import CountingRegistry
from support.images import Blobs
from support.layers import file, tar

COUNTED = {
    function.__code__: function.__qualname__
    for function in (
        Store.open.__func__,
        open_source,
        open_sif_source,
        resolve_image,
        ImageCache._load,
        parse_uri,
        load_configuration,
    )
}


@contextmanager
def counted(uri):
    """Count the calls of something that must happen once for an image, in all threads."""
    calls = Counter()

    def look(frame, event, _argument):
        if event == "call" and frame.f_code in COUNTED and frame.f_locals.get("text", uri) == uri:
            calls[COUNTED[frame.f_code]] += 1

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@pytest.fixture
def uri(tmp_path, monkeypatch):
    """An index with one image, in a registry."""
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    blobs = Blobs()
    with CountingRegistry(blobs) as running:
        running.tags["ns/tool:1"] = blobs.index([blobs.image([tar(file("bin/sh", b"1" * 5000))])])
        yield f"docker://{running.host}/ns/tool:1"


def open_for_exec(uri: str, *words: str) -> Counter[str]:
    """Do what ``sifmake exec`` does before it runs the program."""
    options = parse_plain(["exec", "-q", "--no-https", *words, uri, "true"])
    with counted(uri) as calls:
        _path, _fd, finisher = opened_image(options)
        if finisher is not None:
            finisher.wait()
    return calls


def test_pull(uri):
    with counted(uri) as calls:
        assert main(["pull", "-q", "--no-https", "out.sif", uri]) == 0
    opened = ["Store.open", "open_source", "resolve_image", "ImageCache._load", "parse_uri", "load_configuration"]
    assert calls == dict.fromkeys(opened, 1)


def test_exec(uri):
    opened = ["Store.open", "open_source", "resolve_image", "parse_uri", "load_configuration"]
    assert open_for_exec(uri) == dict.fromkeys([*opened, "ImageCache._load"], 1)
    assert open_for_exec(uri) == dict.fromkeys(opened, 1), "the SIF file is there"


def test_exec_offline(uri):
    open_for_exec(uri)
    calls = open_for_exec(uri, "--offline")
    assert calls == {"Store.open": 1, "parse_uri": 1, "load_configuration": 1}
