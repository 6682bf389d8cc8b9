"""A lock builds what its reviewed line says: a manifest that does not follow from the digest in `image` is refused.

The checksum of a lock has no key, so every lock here has one that fits.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from sifmake.project.lock_file import read_lock, write_lock
from sifmake.project.locks import Lock, LockedLayer
from support.layers import file, folder, tar

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.counting_registry import CountingRegistry
    from support.images import Descriptor
    from support.project import Folder

ENGINES = ["doit", "snakemake"]
NOT_DERIVED = "does not follow from"


class App:
    """A project with one image of an index, ``old``, and a later one, ``good``, which is locked."""

    def __init__(self, project: Folder, registry: CountingRegistry) -> None:
        self.project = project
        self.registry = registry
        project.config.pop("key")
        project.images["app"] = {"from": f"docker://{registry.host}/app:1"}
        project.write()
        self.old, self.good = self.push(b"old"), self.push(b"good")

    def push(self, content: bytes) -> Descriptor:
        """Let the tag stand for an index of two platforms."""
        blobs = self.registry.blobs
        layers = [tar(folder("etc/"), file("etc/x", content))]
        images = [blobs.image(layers, platform=platform) for platform in ("linux/arm64", "linux/amd64")]
        index = blobs.index([*images, blobs.attestation(images[1])])
        self.registry.tags["app:1"] = index
        return index

    def image(self, index: Descriptor, architecture: str = "amd64") -> str:
        entries = self.registry.blobs.document(index)["manifests"]
        return next(one["digest"] for one in entries if one["platform"]["architecture"] == architecture)

    def lock(self) -> Lock:
        return read_lock(self.project.root / "config/locks/app.yaml")

    def change(self, **changes: object) -> None:
        """Change the lock as somebody does who knows how its checksum is made."""
        write_lock(self.project.root / "config/locks/app.yaml", Lock(**{**vars(self.lock()), **changes}))

    def point_to(self, manifest: str) -> None:
        """Let the lock build another manifest, with all that belongs to that."""
        document = self.registry.blobs.document({"digest": manifest})
        layers = tuple(LockedLayer(layer["digest"], layer["size"]) for layer in document["layers"])
        self.change(manifest=manifest, config=document["config"]["digest"], layers=layers)

    def build(self, engine: str, *, status: int = 0, **modes: int) -> str:
        words = [f"{key}={value}" for key, value in modes.items()]
        if engine == "stage":
            return self.project.run("sifmake", "stage", "pull", "app", status=status)
        if engine == "doit":
            return self.project.doit("pull_image", "locked=1", *words, status=status)
        text = self.project.snakemake(*(["--config", *words] if words else []), status=status)
        logs = (self.project.root / "logs/app").glob("*.log")
        return text + "".join(log.read_text() for log in logs)

    def lose_store(self) -> None:
        shutil.rmtree(self.project.home / "store")


@pytest.fixture
def app(project: Folder, registry: CountingRegistry) -> App:
    return App(project, registry)


LIES: dict[str, Callable[[App], None]] = {
    "another image's manifest": lambda app: app.point_to(app.image(app.old)),
    "another platform's manifest": lambda app: app.point_to(app.image(app.good, "arm64")),
    "an attestation": lambda app: app.change(manifest=app.registry.blobs.document(app.good)["manifests"][2]["digest"]),
    "another platform": lambda app: app.change(platform="linux/arm64"),
    "another index": lambda app: app.change(digest=app.old["digest"]),
    "the digest of nothing": lambda app: app.change(digest=f"sha256:{'0' * 64}"),
    "another config": lambda app: app.change(config=app.old["digest"]),
    "other layers": lambda app: app.change(layers=(LockedLayer(app.lock().layers[0].digest, 1),)),
    "another name": lambda app: app.change(name=f"{app.registry.host}/other:1"),
}


@pytest.mark.parametrize("state", ["new", "built", "fresh store"])
@pytest.mark.parametrize("lie", LIES)
def test_a_stage_refuses_what_does_not_follow(app: App, lie: str, state: str) -> None:
    app.project.run("sifmake", "lock")
    if state == "built":
        app.build("doit")
    LIES[lie](app)
    if state == "fresh store":
        app.lose_store()
    text = app.build("stage", status=1)
    assert "config/locks/app.yaml: " in text
    assert "run `sifmake lock app`" in text
    assert len(text.strip().splitlines()) == 1
    text = app.project.run("sifmake", "lock", "--check", status=None)
    assert "unchanged 1" not in text, "the check does not say that all is well"


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_refuse_it_too_and_leave_the_old_file(app: App, engine: str) -> None:
    app.project.run("sifmake", "lock")
    app.build("doit")
    before = app.project.target("app").read_bytes()
    app.point_to(app.image(app.old))
    text = app.build(engine, status=1)
    assert f"the manifest {app.image(app.old)} {NOT_DERIVED} {app.good['digest']} for linux/amd64" in text
    assert app.project.target("app").read_bytes() == before
    text = app.project.run("sifmake", "lock", "--check", status=1)
    assert NOT_DERIVED in text
    app.project.run("sifmake", "lock")
    assert app.lock().manifest == app.image(app.good)
    app.build(engine)
    assert app.project.target("app").read_bytes() == before


@pytest.mark.parametrize("engine", ENGINES)
def test_a_reviewed_digest_is_not_left_unbuilt(app: App, engine: str) -> None:
    """The line is changed to a good digest, the rest still says what was built before."""
    app.push(b"old")
    app.project.run("sifmake", "lock")
    app.build(engine)
    app.change(digest=app.good["digest"])
    assert NOT_DERIVED in app.build(engine, status=1)


@pytest.mark.parametrize("lie", ["another image's manifest", "another platform's manifest"])
def test_the_check_refuses_it_also_where_upstream_has_moved_on(app: App, lie: str) -> None:
    app.project.run("sifmake", "lock")
    LIES[lie](app)
    app.push(b"newer")
    assert NOT_DERIVED in app.project.run("sifmake", "lock", "--check", status=1)
    assert NOT_DERIVED in app.project.run("sifmake", "lock", "--check", "--offline", status=1)


def test_the_proof_costs_one_get_once(app: App) -> None:
    app.project.run("sifmake", "lock")
    app.lose_store()
    app.registry.forget()
    app.project.run("sifmake", "lock", "--check")
    assert app.registry.counts() == {"HEAD manifest": 1, "GET manifest": 1}
    app.registry.forget()
    app.project.run("sifmake", "lock", "--check")
    app.project.run("sifmake", "lock")
    assert app.registry.counts() == {"HEAD manifest": 2}
    app.registry.forget()
    app.build("stage")
    assert app.registry.counts() == {"GET manifest": 1, "GET blob": 2}, "the manifest, the config and a layer"


@pytest.mark.parametrize("engine", ENGINES)
def test_offline_without_the_index_a_lock_is_refused_unless_it_is_trusted(app: App, engine: str) -> None:
    app.project.run("sifmake", "lock")
    app.build("doit")
    index = app.good["digest"]
    (app.project.home / "store/blobs/sha256" / index[7:9] / index[7:]).unlink()
    shutil.rmtree(app.project.root / "results")
    app.project.target("app").unlink()
    text = app.build(engine, offline=1, status=1)
    assert f"the store lacks {index}" in text
    assert "run `sifmake lock --check app`" in text
    assert "--trust-lock" in text
    assert "does not have the changed" not in text
    app.project.run("sifmake", "lock", "--check", "--offline", status=1)
    app.build(engine, offline=1, trust_lock=1)
    assert app.project.target("app").is_file()
    app.project.run("sifmake", "lock", "--check", "--offline", "--trust-lock")


def test_trust_counts_for_one_stage_too_and_not_against_a_disproof(app: App) -> None:
    app.project.run("sifmake", "lock")
    app.project.environ["SIFMAKE_OFFLINE"] = "1"
    app.lose_store()
    stage = ("sifmake", "stage", "--trust-lock", "pull", "app")
    assert "the lock is trusted anyway" in app.project.run(*stage, status=1), "the layers are lacking, too"
    del app.project.environ["SIFMAKE_OFFLINE"]
    app.point_to(app.image(app.old))
    assert NOT_DERIVED in app.project.run(*stage, status=1)
    assert NOT_DERIVED in app.project.run("sifmake", "lock", "--check", "--trust-lock", status=1)
    app.project.environ["SIFMAKE_TRUST_LOCK"] = "1"
    assert NOT_DERIVED in app.build("stage", status=1)


def test_the_command_that_a_refusal_names_helps(app: App) -> None:
    app.project.run("sifmake", "lock")
    app.lose_store()
    app.project.run("sifmake", "lock", "--check", "app")
    app.project.environ["SIFMAKE_OFFLINE"] = "1"
    assert "the store lacks" not in app.build("stage", status=1)


def test_the_index_travels_with_an_export(app: App) -> None:
    app.project.run("sifmake", "lock")
    app.build("doit")
    before = app.project.target("app").read_bytes()
    app.project.run("sifmake", "cache", "export", "app.tar", "app")
    app.lose_store()
    shutil.rmtree(app.project.root / "results")
    app.project.target("app").unlink()
    app.project.run("sifmake", "cache", "import", "app.tar")
    app.registry.forget()
    app.project.environ["SIFMAKE_OFFLINE"] = "1"
    app.build("doit")
    assert app.project.target("app").read_bytes() == before
    assert app.registry.counts() == {}


@pytest.mark.parametrize("moved", ["", "moved"])
def test_an_index_that_upstream_has_deleted_is_said_to_be(app: App, moved: str) -> None:
    app.project.run("sifmake", "lock")
    app.lose_store()
    if moved:
        images = app.registry.blobs.document(app.good)["manifests"][:2]
        app.registry.tags["app:1"] = app.registry.blobs.index(images)
    else:
        del app.registry.tags["app:1"]
    del app.registry.blobs.data[app.good["digest"]]
    text = app.build("stage", status=1)
    assert f"upstream has deleted {app.good['digest']}" in text
    assert "run `sifmake lock app`" in text
    if moved:
        assert "the old digest is not there any more" in app.project.run("sifmake", "lock", "--check", status=3)
        app.project.run("sifmake", "lock")
        app.build("doit")


def test_indexes_in_indexes_and_single_manifests(app: App) -> None:
    blobs = app.registry.blobs
    app.registry.tags["app:1"] = blobs.index([app.good])
    app.project.run("sifmake", "lock")
    assert app.lock().manifest == app.image(app.good)
    app.build("doit")
    app.lose_store()
    app.registry.forget()
    app.project.run("sifmake", "lock", "--check")
    assert app.registry.counts() == {"HEAD manifest": 1, "GET manifest": 2}
    app.point_to(app.image(app.old))
    assert NOT_DERIVED in app.build("stage", status=1)
    app.registry.tags["app:1"] = {"digest": app.image(app.good)}
    app.project.run("sifmake", "lock")
    assert app.lock().digest == app.lock().manifest
    app.point_to(app.image(app.old))
    assert NOT_DERIVED in app.build("stage", status=1)
    app.project.run("sifmake", "lock")
    app.change(platform="linux/arm64")
    assert "is for linux/arm64, but the image is for linux/amd64" in app.build("stage", status=1)


def test_a_pinned_reference_counts_more_than_a_lock(app: App) -> None:
    app.project.images["app"]["from"] += f"@{app.good['digest']}"
    app.project.write()
    app.project.run("sifmake", "lock")
    app.change(digest=app.old["digest"], manifest=app.image(app.old))
    assert f"its 'from' is pinned to {app.good['digest']}" in app.build("stage", status=1)
    assert "is pinned to" in app.build("doit", status=1)
    app.project.run("sifmake", "lock", "--check", status=1)
    app.project.run("sifmake", "lock")
    assert app.lock().digest == app.good["digest"]
    app.point_to(app.image(app.old))
    assert NOT_DERIVED in app.project.run("sifmake", "lock", "--check", status=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_another_digest_of_the_same_image_is_proven_and_builds_the_same(app: App, engine: str) -> None:
    app.project.run("sifmake", "lock")
    app.build(engine)
    before = app.project.target("app").read_bytes()
    images = app.registry.blobs.document(app.good)["manifests"][:2]
    other = app.registry.blobs.index(images)
    path = app.project.root / "config/locks/app.yaml"
    path.write_text(path.read_text().replace(app.good["digest"], other["digest"]))
    app.project.run("sifmake", "lock")
    assert (app.lock().digest, app.lock().manifest) == (other["digest"], app.image(app.good))
    app.registry.forget()
    app.build(engine)
    app.build(engine)
    assert app.registry.counts() == {}
    assert app.project.target("app").read_bytes() == before
