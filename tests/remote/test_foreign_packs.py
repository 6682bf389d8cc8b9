"""Packs that another encoder made: not used, or used as they are, and recorded."""

from __future__ import annotations

import json

import pytest

from sifmake.cli.main import main
from sifmake.layers.codec import Codec, make_codec
from sifmake.layers.pack_format import is_alike, pack_key
from sifmake.remote.pushing import push_packs
from sifmake.remote.settings import RemoteSettings
from sifmake.store import Store
from support.definition_projects import Definitions
from support.layers import diff_id_of, file, folder, make_pack, tar
from support.pulling import settings
from support.registry import Answer, FakeRegistry, Uploads

LAYER = tar(folder("bin/"), file("bin/sh", b"#!tool" * 60_000))
OTHER = Codec("gzip", 1)
OWN_KEY, KEY = (pack_key(diff_id_of(LAYER), codec) for codec in (make_codec("gzip"), OTHER))


@pytest.fixture
def registry(tmp_path):
    """A registry with an image, and with its pack by another encoder."""
    store = Store(tmp_path / "filled")
    path = store.root / "packs" / KEY[:2] / KEY
    path.parent.mkdir(parents=True)
    make_pack(path, LAYER, codec=OTHER).close()
    with FakeRegistry() as running:
        Uploads(running)
        running.on("GET", "/tags/list", lambda _: Answer(200, json.dumps({"tags": ["latest", KEY]}).encode()))
        running.tag("org/tool", "1", running.blobs.image([LAYER]))
        assert push_packs([KEY], store, RemoteSettings(f"oci://{running.host}/packs"), settings()).uploaded
        running.log.clear()
        yield running


def build(registry, place, monkeypatch, *, foreign):
    """Build the image; return the file, the records of two stages, and how many layers were asked for."""
    (place / "config").mkdir(parents=True)
    image = {"from": f"docker://{registry.host}/org/tool:1"}
    (place / "config/images.yaml").write_text(json.dumps({"images": {"tool": image}}))
    remote = {"uri": f"oci://{registry.host}/packs", "foreign": foreign}
    (place / "sifmake.yaml").write_text(json.dumps({"store": {"path": "store", "remote": [remote]}}))
    monkeypatch.chdir(place)
    assert main(["-q", "lock"]) == 0
    before = registry.count("GET", "/v2/org/tool/blobs/")
    for _ in range(2):
        for stage in ("pull", "flatten", "sif"):
            assert main(["-q", "stage", "--force", stage, "tool"]) == 0
    records = [json.loads((place / f"results/tool/{stage}.json").read_text())["result"] for stage in ("pull", "sif")]
    (sif,) = place.rglob("*.sif")
    return sif.read_bytes(), records, registry.count("GET", "/v2/org/tool/blobs/") - before


def test_foreign_packs_are_used_where_that_is_set_and_records_say_so(registry, tmp_path, monkeypatch, capsys):
    own, records, layers = build(registry, tmp_path / "own", monkeypatch, foreign=False)
    assert layers == 1
    assert [record.get("foreign") for record in records] == [None, None]
    assert registry.count("GET", "/tags/list") == 0
    theirs, records, layers = build(registry, tmp_path / "theirs", monkeypatch, foreign=True)
    assert layers == 0
    assert [record["foreign"] for record in records] == [[KEY], [KEY]]
    assert theirs != own, "level 1 is larger"
    assert [path.name for path in (tmp_path / "theirs/store/packs").rglob("*-*")] == [KEY]
    assert main(["sif", "digest", str(next((tmp_path / "own").rglob("*.sif")))]) == 0
    assert main(["sif", "digest", str(next((tmp_path / "theirs").rglob("*.sif")))]) == 0
    first, second = capsys.readouterr().out.split("\n")[:2]
    assert first.split()[0] == second.split()[0], "the same files"


def test_records_of_definitions_say_so_too(registry, tmp_path):
    remote = {"uri": f"oci://{registry.host}/packs", "foreign": True}
    project = Definitions(tmp_path / "p", store={"path": str(tmp_path / "store"), "remote": [remote]})
    project.define("tool", "%labels\n    a b", f"Bootstrap: docker\nFrom: {registry.host}/org/tool:1", sign=False)
    project.lock()
    project.build("tool", stages=("pull", "steps", "flatten", "sif"))
    record = json.loads((project.root / "results/tool/sif.json").read_bytes())
    assert record["result"]["foreign"] == [KEY]


def test_only_level_and_encoder_may_differ():
    hexadecimal = "a" * 64
    wanted = f"{hexadecimal}-gzip6-128k-v2-0123456789abcdef"
    assert is_alike(f"{hexadecimal}-gzip9-128k-v2-ffffffffffffffff", wanted)
    for other in (
        f"{'b' * 64}-gzip6-128k-v2-0123456789abcdef",
        f"{hexadecimal}-zstd6-128k-v2-0123456789abcdef",
        f"{hexadecimal}-gzip6-256k-v2-0123456789abcdef",
        f"{hexadecimal}-gzip6-128k-v1-0123456789abcdef",
        f"{hexadecimal}-gzip6-128k-v2-0123456789abcdef/..",
        "latest",
    ):
        assert not is_alike(other, wanted)
