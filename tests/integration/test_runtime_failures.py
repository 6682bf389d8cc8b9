"""What cannot be run: one line that names what is missing, and status 255, so that it is never the program's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.corpus import SIF_FROM_PEERS
from support.images import Blobs, write_layout
from support.layers import file, folder, tar
from support.runtime import BUSYBOX, environment, needs_runtime, run


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    dynamic = Path(sys.executable).resolve().read_bytes()[:4096]
    members = [
        folder("bin/"),
        file("bin/nosuch", b"#!/usr/bin/nosuch\n", mode=0o755),
        file("bin/crlf", b"#!/bin/sh\r\n", mode=0o755),
        file("bin/dynamic", dynamic, mode=0o755),
    ]
    blobs = Blobs()
    config = {"Entrypoint": ["/bin/nosuch"]}
    path = write_layout(
        tmp_path_factory.mktemp("app") / "app", blobs, {"1": blobs.image([tar(*members)], config=config)}
    )
    return f"oci:{path}:1"


@needs_runtime
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exec", "nosuch"], b"nosuch: its interpreter /usr/bin/nosuch is not in the image"),
        (["exec", "/bin/crlf"], b"/bin/crlf: its first line ends with CR LF"),
        (["exec", "/bin/dynamic"], b"/bin/dynamic: its loader /lib"),
        (["run"], b"/bin/nosuch: its interpreter /usr/bin/nosuch is not in the image"),
    ],
)
def test_h44_what_is_missing_is_named_and_not_the_program(layout, tmp_path, words, said):
    action, *rest = words
    done = run(action, layout, *rest, env=environment(SIFMAKE_CACHE=str(tmp_path / "store")))
    assert (done.returncode, done.stdout) == (255, b"")
    assert said in done.stderr
    assert b"bwrap" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith(b"sifmake: error:")]


@needs_runtime
@pytest.mark.parametrize(
    "words",
    [
        ["exec", "nosuch.sif", "true"],
        ["exec", "docker://127.0.0.1:1/x:1", "true"],
        ["exec", "--offline", "docker://127.0.0.1:1/x:1", "true"],
        ["exec", "https://127.0.0.1:1/x.sif", "true"],
        ["exec", "nosuch:x", "true"],
        ["exec", str(BUSYBOX)],
        ["exec"],
        ["exec", "--nosuch", str(BUSYBOX), "true"],
        ["exec", "--bind", "/nosuch/folder", str(BUSYBOX), "true"],
        ["exec", "--runtime", "nosuch", str(BUSYBOX), "true"],
        ["exec", str(SIF_FROM_PEERS), "true"],
        ["exec", __file__, "true"],
        ["run", "nosuch.sif"],
        ["shell", "nosuch.sif"],
        ["test", "nosuch.sif"],
    ],
    ids=lambda words: " ".join(words)[-40:],
)
def test_every_failure_of_sifmake_has_apptainers_status(words, tmp_path):
    done = run(*words, env=environment(SIFMAKE_CACHE=str(tmp_path / "store")), cwd=tmp_path)
    assert done.returncode == 255, done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"error:") == 1
