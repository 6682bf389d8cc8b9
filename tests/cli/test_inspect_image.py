"""``inspect`` of an image that is not pulled: manifest and config are asked for, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import sifmake
from sifmake.cli.main import main
from support.counting_registry import CountingRegistry
from support.images import Blobs, write_docker_archive, write_layout
from support.layers import file, folder, tar

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = {"Cmd": ["/bin/run", "it"], "Env": ["A=1 2", "PATH=/bin"], "Labels": {"who": "me"}, "Entrypoint": ["/bin/sh"]}
HELP = tar(folder(".singularity.d"), file(".singularity.d/runscript.help", b"help me"))


@pytest.fixture(scope="module")
def registry() -> Iterator[CountingRegistry]:
    blobs = Blobs()
    with CountingRegistry(blobs) as registry:
        registry.tags["a:1"] = blobs.image([tar(file("data", b"x" * 5000)), HELP], config=CONFIG)
        arm = blobs.image([tar(file("data"))], config={"Labels": {"arch": "arm"}}, platform="linux/arm64")
        registry.tags["a:both"] = blobs.index([registry.tags["a:1"], arm])
        yield registry


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)


def test_no_layer_is_fetched_and_the_answers_are_those_of_the_built_file(registry, capsys, tmp_path):
    uri = f"docker://{registry.host}/a:1"
    registry.forget()
    assert main(["inspect", "--no-https", "--all", uri]) == 0
    out, err = capsys.readouterr()
    asked = [path for method, path in registry.requests if method == "GET" and "/blobs/" in path]
    document = registry.blobs.document(registry.tags["a:1"])
    assert [path.rpartition("/")[2] for path in asked] == [document["config"]["digest"]]
    assert f"run `sifmake pull {uri}` to see what the layers add" in err
    told = json.loads(out)["data"]["attributes"]
    sif = sifmake.pull(uri, tmp_path / "a.sif", plain_http=True)
    built = sifmake.inspect(sif).attributes
    assert built.pop("helpfile") == "help me"
    assert told == built
    assert (told["labels"]["who"], "/bin/sh" in told["runscript"]) == ("me", True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "who: me"),
        (["-r"], "/bin/sh"),
        (["-e"], "A="),
        (["-d"], "bootstrap: docker"),
        (["-j", "-l"], '"who": "me"'),
    ],
)
def test_forms(registry, capsys, options, words):
    assert main(["inspect", "--no-https", *options, f"docker://{registry.host}/a:1"]) == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [(["-H"], "only the layers hold the help text"), (["--list-apps"], "the apps"), (["--app", "x"], "the app,")],
)
def test_what_only_layers_tell_is_refused(registry, capsys, options, words):
    registry.forget()
    uri = f"docker://{registry.host}/a:1"
    assert main(["inspect", "--no-https", *options, uri]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert f"run `sifmake pull {uri}`, then inspect the file" in err
    assert registry.counts() == {}


def test_another_architecture(registry, capsys):
    assert main(["inspect", "--no-https", "--arch", "arm64", f"docker://{registry.host}/a:both"]) == 0
    assert "arch: arm" in capsys.readouterr().out


def test_other_sources(tmp_path, capsys):
    blobs = Blobs()
    image = blobs.image([tar(file("data"))], config=CONFIG)
    write_layout(tmp_path / "layout", blobs, {"latest": image})
    write_docker_archive(tmp_path / "a.tar.gz", blobs, {"a:b": image}, compression="gzip")
    for uri in ("oci:layout:latest", "docker-archive:a.tar.gz"):
        assert not list((tmp_path / "store").rglob("packs/*/*"))
        assert main(["inspect", uri]) == 0
        assert "who: me" in capsys.readouterr().out
    assert main(["inspect", "oras://127.0.0.1:1/a:1"]) == 1
    assert "run `sifmake pull oras://127.0.0.1:1/a:1`, then inspect the file" in capsys.readouterr().err


def test_an_address_may_be_longer_than_a_path(tmp_path, capsys):
    assert main(["inspect", f"https://127.0.0.1:1/a.sif?signed={'x' * 5000}"]) == 1
    assert "a SIF file cannot be inspected before it is downloaded" in capsys.readouterr().err


def test_a_file_is_a_file(tmp_path, capsys):
    (tmp_path / "docker:x").write_bytes(b"no SIF")
    assert main(["inspect", "docker:x"]) == 1
    assert "docker:x: " in capsys.readouterr().err
