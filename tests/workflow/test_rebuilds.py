"""Rebuild only what changed: each row of the workflow's table, as work that a registry and a file system can see."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from sifmake.signing.pem import new_private, public_bytes
from support.layers import file, folder, tar
from support.signing import pgp_pair

if TYPE_CHECKING:
    from support.counting_registry import CountingRegistry
    from support.images import Descriptor
    from support.project import Folder

ENGINES = ["doit", "snakemake"]
BASE = tar(folder("etc/"), file("etc/base", b"base" * 1000))
ONE = tar(file("etc/top", b"one"))
TWO = tar(file("etc/top", b"two"))
HEAD = {"HEAD manifest": 1}


def push(registry: CountingRegistry, *layers: bytes, tag: str = "app:1", platforms: tuple = ("linux/amd64",), **more):
    """Push an index with an attestation, as buildx does; return the images' descriptors."""
    images = [registry.blobs.image(layers, platform=platform, **more) for platform in platforms]
    extra = [registry.blobs.attestation(image) for image in images]
    registry.tags[tag] = registry.blobs.index([*images, *extra])
    return images


def refresh(project: Folder, engine: str) -> None:
    """Let the next build see the registry: doit asks by itself, Snakemake's users run the documented line."""
    if engine == "snakemake":
        project.run("sifmake", "lock")


@pytest.fixture
def app(project: Folder, registry: CountingRegistry) -> Folder:
    """A project with one image of two layers, not built yet."""
    project.images["app"] = {"from": f"docker://{registry.host}/app:1"}
    project.write()
    push(registry, BASE, ONE)
    return project


def state(project: Folder) -> tuple[int, bytes]:
    target = project.target("app")
    return target.stat().st_ino, target.read_bytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_life_of_an_image(app: Folder, registry: CountingRegistry, engine: str) -> None:
    """First build, again, pushed again for another platform, changed config, changed layer, moved back."""
    app.build(engine)
    assert registry.counts() == {"GET manifest": 2, "GET blob": 3}, "of a name that is new, a HEAD could tell nothing"
    assert len(app.packs()) == 2
    assert app.record("verify", "app")["result"]["trust"] == "development"
    assert not list((app.root / "results" / "app").glob("*.sif"))
    first, files = state(app), app.files()

    registry.forget()
    app.build(engine)
    assert registry.counts() == (HEAD if engine == "doit" else {})
    assert app.files() == files

    push(registry, BASE, ONE, platforms=("linux/amd64", "linux/arm64"))
    registry.forget()
    refresh(app, engine)
    app.build(engine)
    assert registry.counts() == {"HEAD manifest": 1, "GET manifest": 1}
    assert app.files() == files
    registry.forget()
    refresh(app, "snakemake")
    assert registry.counts() == HEAD

    packs = app.packs()
    (image,) = push(registry, BASE, ONE, config={"Env": ["A=1"]})
    registry.forget()
    refresh(app, engine)
    app.build(engine)
    assert registry.blob_gets() == {registry.blobs.document(image)["config"]["digest"]: 1}
    assert app.packs() == packs
    assert state(app)[1] != first[1]

    (image,) = push(registry, BASE, TWO)
    registry.forget()
    refresh(app, engine)
    app.build(engine)
    manifest = registry.blobs.document(image)
    assert registry.blob_gets() == {manifest["config"]["digest"]: 1, manifest["layers"][1]["digest"]: 1}
    assert len(app.packs() - packs) == 1

    push(registry, BASE, ONE)
    registry.forget()
    refresh(app, engine)
    app.build(engine)
    assert registry.blob_gets() == {}
    assert state(app)[1] == first[1]


@pytest.mark.parametrize(("first", "second"), [ENGINES, ENGINES[::-1]])
def test_the_other_engine_finds_nothing_to_do(app: Folder, registry: CountingRegistry, first: str, second: str) -> None:
    """Also after a change that only some stages had to follow."""
    app.build(first)
    push(registry, BASE, ONE, config={"Env": ["A=1"]})
    refresh(app, first)
    app.build(first)
    before, files = state(app), app.files()
    registry.forget()
    app.build(second)
    assert registry.blob_gets() == {}
    assert state(app) == before
    assert app.files() == files


@pytest.mark.parametrize(("first", "second"), [ENGINES, ENGINES[::-1]])
def test_changed_compression_is_never_the_old_file(
    app: Folder, registry: CountingRegistry, first: str, second: str
) -> None:
    app.build(first)
    before = state(app)
    app.images["app"]["compression"] = "zstd"
    app.write()
    registry.forget()
    if second == "snakemake":
        assert "run `sifmake lock --offline`" in app.snakemake(status=1)
        assert state(app) == before
        app.run("sifmake", "lock", "--offline")
        assert registry.counts() == {}
    app.build(second)
    assert registry.blob_gets() == {}
    assert state(app)[1] != before[1]
    assert app.record("sif", "app")["key"]["compression"] == "zstd:6"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "lost",
    ["images/app.sif", "config/locks/app.yaml", "results", "results/app/pull.json"],
)
def test_what_is_lost_is_made_again(app: Folder, registry: CountingRegistry, engine: str, lost: str) -> None:
    app.build(engine)
    before, packs = state(app)[1], app.packs()
    path = app.root / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    registry.forget()
    app.build(engine)
    assert registry.blob_gets() == {}
    assert app.packs() == packs
    assert state(app)[1] == before
    assert path.exists() or (engine, path.name) == ("snakemake", "pull.json")  # not needed for the finished file


@pytest.mark.parametrize("engine", ENGINES)
def test_a_lost_store_causes_no_work_until_it_is_needed(app: Folder, registry: CountingRegistry, engine: str) -> None:
    app.build(engine)
    before = state(app)
    shutil.rmtree(app.home / "store")
    registry.forget()
    app.build(engine)
    assert registry.counts() == (HEAD if engine == "doit" else {})
    assert state(app) == before
    app.target("app").unlink()
    app.build(engine)
    assert state(app)[1] == before[1]
    assert len(app.packs()) == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_two_images_share_layers_while_built_side_by_side(
    project: Folder, registry: CountingRegistry, engine: str
) -> None:
    shared = [tar(file(f"shared{number}", bytes([number]) * 300_000)) for number in range(4)]
    descriptors: list[Descriptor] = []
    for name, top in (("a", ONE), ("b", TWO)):
        descriptors += push(registry, *shared, top, tag=f"{name}:1")
        project.images[name] = {"from": f"docker://{registry.host}/{name}:1"}
    project.write()
    registry.slow = 0.002
    project.build(engine, *(["-n", "4"] if engine == "doit" else ["-j", "4"]))
    layers = {layer["digest"] for image in descriptors for layer in registry.blobs.document(image)["layers"]}
    assert len(layers) == 6
    assert {digest: count for digest, count in registry.blob_gets().items() if digest in layers} == dict.fromkeys(
        layers, 1
    )
    assert len(project.packs()) == 6


def trust_another_key(project: Folder, name: str) -> None:
    folder = project.root / "config" / "keys"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.pem").write_bytes(public_bytes(new_private().public_key()))


@pytest.mark.parametrize("key", ["development", "openpgp"])
@pytest.mark.parametrize(("first", "second"), [ENGINES, ENGINES[::-1]])
def test_other_trusted_keys_verify_again_and_publish_nothing(app: Folder, key: str, first: str, second: str) -> None:
    """Whoever reads the finished file or its record has nothing to do, even where signatures differ each time."""
    if key == "openpgp":
        pgp_pair(app.root / "config")
        app.config.update({"key": "config/pgp.sec.asc", "trusted-keys": ["config/pgp.asc", "config/keys"]})
        (app.root / "config/keys").mkdir()
        app.write()
    app.build(first)
    before, published = state(app), (app.root / "results/app/publish.json").read_bytes()
    for engine in (first, second):
        verified = app.record("verify", "app")
        trust_another_key(app, engine)
        app.build(engine)
        assert app.record("verify", "app")["key"] != verified["key"]
        for again in (engine, first, second):
            app.build(again)
            assert app.record("verify", "app")["result"] == verified["result"]
            assert state(app) == before
            assert (app.root / "results/app/publish.json").read_bytes() == published
            assert not list((app.root / "results/app").glob("*.sif"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_finished_file_is_not_taken_for_verified(app: Folder, engine: str) -> None:
    app.build(engine)
    good = state(app)[1]
    app.target("app").write_bytes(good[:-100] + bytes(100))
    trust_another_key(app, "other")
    app.build(engine)
    assert state(app)[1] == good
    assert not list((app.root / "results/app").glob("*.sif"))
