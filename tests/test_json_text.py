"""JSON from outside is bounded wherever it is read."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from sifmake.drivers import stage_helper
from sifmake.errors import ConfigError, IntegrityError, SifError
from sifmake.json_text import BeyondLimitError, parse_json
from sifmake.oci.documents import load_json
from sifmake.project.records import read_record
from sifmake.registry import helper
from sifmake.registry.auth_file import parse_auth_file
from sifmake.rootfs.report import parse_inspection
from sifmake.sif import open_sif
from sifmake.sources.engine_connection import find_engine
from support.images import Blobs, write_layout
from support.layers import file, tar

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCES = Path(__file__).parents[1] / "src" / "sifmake"


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


HOSTILE = {
    "as deep as Python reads": nested(900),
    "deeper": nested(100_000),
    "objects in objects": b'{"a":' * 500 + b"1" + b"}" * 500,
    "open": b"[" * 1_000_000,
    "many objects": b"[" + b"{}," * 1_000_000 + b"1]",
    "a huge integer": b'{"a": ' + b"1" * 5000 + b"}",
    "not a number": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "a float without an end": b'{"a": 1e999}',
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "truncated": b'{"a": ',
    "nothing": b"",
}


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE.keys())
def data(request: pytest.FixtureRequest) -> bytes:
    return bytes(request.param)


def test_ordinary_documents_are_read() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, -2.5e3, null, true, "\\u00e9"]}') == {"a": [1, -2500.0, None, True, "é"]}
    assert parse_json(nested(100)) is not None


def test_hostile_ones_are_value_errors(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(data)


def test_limits_have_words_of_their_own() -> None:
    with pytest.raises(BeyondLimitError, match="more than 7 levels"):
        parse_json(nested(8), levels=7)
    with pytest.raises(BeyondLimitError, match="more than 3 objects and lists"):
        parse_json(b"[[],[],[]]", containers=3)


def engine_with(data: bytes, folder: Path) -> object:
    (folder / "config.json").write_bytes(data)
    return find_engine({"DOCKER_CONFIG": str(folder)})


def helper_saying(data: bytes, folder: Path, call: Callable[[str, dict[str, str]], object]) -> object:
    program = folder / "docker-credential-odd"
    (folder / "answer").write_bytes(data)
    program.write_text(f"#!/bin/sh\ncat '{folder}/answer'\n")
    program.chmod(0o755)
    return call("odd", {"PATH": f"{folder}:/usr/bin:/bin"})


@pytest.mark.parametrize("name", ["inspect-metadata.json", "oci-config.json", "oci-manifest.json"])
@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        "[" * 900,
        '{"data": [], "config": [], "layers": {}}',
        '{"data": {"attributes": {"labels": 1}}}',
        '{"config": null, "layers": [1, {"digest": 1}]}',
        "[1]",
    ],
)
def test_documents_in_a_sif_file_end_diff_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    blobs = Blobs()
    image = blobs.image([tar(file("a", b"a"))], config={"Env": ["LONG=" + "x" * 2000]})
    write_layout(tmp_path / "layout", blobs, {"latest": image})
    good, bad = str(tmp_path / "good.sif"), tmp_path / "bad.sif"
    assert main(["-q", "pull", good, f"oci:{tmp_path / 'layout'}:latest"]) == 0
    shutil.copy(good, bad)
    with open_sif(bad) as sif, bad.open("r+b") as out:
        item = next(iter(sif.find(name=name)))
        out.seek(item.offset)
        out.write(text.encode().ljust(item.size)[: item.size])
    for command in (["diff", good, str(bad)], ["inspect", "--all", str(bad)]):
        assert main(command) in range(256)
        assert "defect" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda data, _: load_json(data), IntegrityError),
        (lambda data, _: parse_inspection(data), SifError),
        (lambda data, _: parse_auth_file(data or b"[]", "x"), ConfigError),
        (lambda data, folder: helper_saying(data, folder, lambda name, env: helper.get(name, "x", env)), ConfigError),
        (lambda data, folder: helper_saying(data or b"[]", folder, helper.servers), ConfigError),
    ],
    ids=["documents", "inspection", "auth file", "helper", "servers"],
)
def test_readers_end_in_errors_of_their_own(
    tmp_path: Path, data: bytes, read: Callable[[bytes, Path], object], kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        read(data, tmp_path)
    assert len(str(caught.value)) < 500


def test_those_that_can_do_without_do_without(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "record.json").write_bytes(data)
    assert read_record(tmp_path / "record.json") is None
    assert engine_with(data, tmp_path)


def test_a_record_that_is_a_device_is_none(tmp_path: Path) -> None:
    (tmp_path / "record.json").symlink_to("/dev/zero")
    assert read_record(tmp_path / "record.json") is None


def test_the_stage_helper_takes_no_line_that_is_not_a_request(data: bytes) -> None:
    here, there = socket.socketpair()
    here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    writer = threading.Thread(target=lambda: (here.sendall(data + b"\n"), here.close()))
    with there:
        writer.start()
        with pytest.raises((ValueError, KeyError, TypeError)):
            stage_helper.receive(there)
        while there.recv(1 << 20):
            pass
        writer.join()


def test_json_of_strangers_is_read_in_one_way_only() -> None:
    """Where ``json.loads`` stands, RecursionError, infinite numbers and memory have been thought of."""
    known = {"signing/dsse.py", "signing/metadata.py", "registry/error_responses.py", "registry/tokens.py"}
    known.add("project/lock_text.py")  # two escapes that a pattern has found, and nothing else
    # The runner's processes and folders are sifmake's own, and no stranger's.
    known |= {f"rootless/{name}.py" for name in ("modes", "plan", "probe", "work_tree")}
    found = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if "json.load" in path.read_text() and path.name != "json_text.py"
    }
    assert found <= known


def test_eight_megabytes_cost_little() -> None:
    """The largest config that is read, made of what costs Python most."""
    for piece in (b"{},", b"[],", b'{"":1},', b"[[[]]],", b"1.5,", b'"ab",', b'"\xc3\xa9",', b"123456,"):
        data = b"[" + piece * (8_000_000 // len(piece)) + b"1]"
        code = (
            "import sys, resource\nfrom sifmake.json_text import parse_json\n"
            "resource.setrlimit(resource.RLIMIT_DATA, (256 << 20, 256 << 20))\n"
            "resource.setrlimit(resource.RLIMIT_CPU, (5, 5))\n"
            "try:\n    parse_json(sys.stdin.buffer.read())\nexcept ValueError as error:\n    print(error)\n"
        )
        run = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=False)
        assert run.returncode == 0, (piece, run.stderr[-500:])
