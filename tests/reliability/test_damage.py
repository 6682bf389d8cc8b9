"""Any file of store, results and locks is damaged after any stage: the next run is right, or says what to do of a lock.

CI does 40 damages of each of two projects, ``SIFMAKE_RELIABILITY=long`` 300. They are the same in every run, by number.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest

from sifmake.builder.run_cache import ImageToRun, find_or_build
from sifmake.errors import SifmakeError
from sifmake.progress import Silent
from sifmake.project.project import Project
from sifmake.project.stage_table import STAGE_NAMES
from sifmake.sif import DataType, open_sif
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from support.counting_registry import CountingRegistry
from support.faults import damage, layers
from support.images import Blobs
from support.layers import file, tar
from support.signing import pem_pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 300 if os.environ.get("SIFMAKE_RELIABILITY") == "long" else 40
IMAGES = {"one": "1", "two": "2"}
KINDS = ("flip", "cut", "zeros", "swap", "empty")


class World(NamedTuple):
    """What is damaged, and what is right.

    Attributes:
        states: Folders of the project after each stage.
        good: Content of each finished file, and of what ``exec`` runs.
        host: The registry.
    """

    states: dict[str, Path]
    good: dict[str, object]
    host: str


def content(path: Path) -> dict[int, bytes]:
    """Return a SIF file's objects but the signature, which is another each time."""
    with open_sif(path) as sif:
        return {item.id: sif.read(item, 1 << 30) for item in sif.objects if item.data_type != DataType.SIGNATURE}


def lock(folder: Path) -> None:
    for name in IMAGES:
        LockRefresher(Project(folder)).refresh(name)


def build(folder: Path, stages: tuple[str, ...] = STAGE_NAMES) -> None:
    """Run stages of all images, each as in a process of its own."""
    for stage in stages:
        for name in IMAGES:
            with open_runner(Project(folder)) as runner:
                runner.run(stage, name)


def execute(host: str, tag: str, *, offline: bool = False) -> bytes:
    wanted = ImageToRun(f"docker://{host}/ns/tool:{tag}", offline=offline, plain_http=True)
    found = find_or_build(wanted, Silent())
    found.close()
    return found.path.read_bytes()


@pytest.fixture(scope="module", params=["no key", "key"])
def world(request, tmp_path_factory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    blobs = Blobs()
    stack = layers(400_000)
    index = {
        "1": blobs.index([blobs.image(stack)]),
        "2": blobs.index([blobs.image([*stack, tar(file("etc/motd", b"two\n"))])]),
    }
    with CountingRegistry(blobs) as registry:
        registry.tags.update({f"ns/tool:{tag}": one for tag, one in index.items()})
        options: dict[str, object] = {"store": {"path": "store"}, "registries": {registry.host: {"plain-http": True}}}
        if request.param == "key":
            keys = pem_pair(folder)
            options |= {"key": str(keys.secret), "trusted-keys": [str(keys.public)]}
        base = folder / "base"
        (base / "config").mkdir(parents=True)
        (base / "config" / "config.yaml").write_text(json.dumps(options))
        images = {name: {"from": f"docker://{registry.host}/ns/tool:{tag}"} for name, tag in IMAGES.items()}
        (base / "config" / "images.yaml").write_text(json.dumps({"images": images}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SIFMAKE_CACHE", str(base / "store"))
            patch.chdir(base)
            lock(base)
            good: dict[str, object] = {f"exec {tag}": execute(registry.host, tag) for tag in IMAGES.values()}
        states = {}
        for stage in STAGE_NAMES:
            build(base, (stage,))
            states[stage] = folder / stage
            shutil.copytree(base, states[stage])
        good |= {name: content(base / "images" / f"{name}.sif") for name in IMAGES}
        yield World(states, good, registry.host)


def damage_or_swap(path: Path, kind: str, other: Path, dice: random.Random) -> None:
    if kind == "swap":
        data = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
    else:
        damage(path, kind, dice)


def outcome(folder: Path, host: str) -> dict[str, object]:
    """Build and run everything; return what came of it."""
    build(folder)
    found: dict[str, object] = {name: content(folder / "images" / f"{name}.sif") for name in IMAGES}
    return found | {f"exec {tag}": execute(host, tag) for tag in IMAGES.values()}


def try_one(number: int, world: World, folder: Path) -> str:
    """Do one damage; return what is wrong afterwards, empty if nothing is."""
    dice = random.Random(number)
    stage = dice.choice(STAGE_NAMES)
    shutil.copytree(world.states[stage], folder)
    os.chdir(folder)
    parts = [folder / name for name in ("store/blobs", "store/indexes", "store/packs", "store/patches", "store/sif")]
    parts += [folder / "store/names", folder / "results", folder / "config/locks"]
    files = sorted(path for path in dice.choice([one for one in parts if one.exists()]).rglob("*") if path.is_file())
    if not files:
        return ""
    path, other, kind = dice.choice(files), dice.choice(files), dice.choice(KINDS)
    damage_or_swap(path, kind, other, dice)
    what = f"{number}: {kind} of {path.relative_to(folder)} after {stage}"
    for tag in IMAGES.values():
        try:
            if execute(world.host, tag, offline=True) != world.good[f"exec {tag}"]:
                return f"{what}: wrong bytes run offline"
        except SifmakeError as error:
            if "run the command once with network access" not in str(error):
                return f"{what}: offline: {error}"
    try:
        if stage != "publish":
            lock(folder)
        found = outcome(folder, world.host)
    except SifmakeError as error:
        if "config/locks" not in str(path) or "sifmake lock" not in str(error):
            return f"{what}: {error}"
        for one in {path, other}:
            one.unlink()
        lock(folder)
        found = outcome(folder, world.host)
    wrong = [name for name, good in world.good.items() if found[name] != good]
    return f"{what}: wrong {wrong}" if wrong else ""


def test_no_damage_gives_wrong_bytes_or_stays(world, tmp_path, monkeypatch):
    for name in ("fsync", "fdatasync"):  # no power fails here
        monkeypatch.setattr(os, name, lambda _fd: None)
    bad = []
    for number in range(COUNT):
        folder = tmp_path / str(number)
        monkeypatch.setenv("SIFMAKE_CACHE", str(folder / "store"))
        monkeypatch.chdir(tmp_path)
        bad.append(try_one(number, world, folder))
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(folder, ignore_errors=True)
    assert [text for text in bad if text] == []
