"""One lock gives one file: in one process, with a process for each stage, and after a build that was killed."""

from __future__ import annotations

import json
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from sifmake.errors import SifmakeError
from sifmake.project.project import Project
from sifmake.project.stage_table import STAGE_NAMES, TARGET, TREE
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from support.corpus import IMAGE_URIS, needs_corpus
from support.images import Blobs, write_layout
from support.layers import file, folder, hardlink, symlink, tar

if TYPE_CHECKING:
    from pathlib import Path

NOISE = random.Random(3)
BODIES = {name: NOISE.randbytes(size) for name, size in {"a": 300_000, "b": 40_000, "c": 9, "d": 131_072}.items()}


def files(folder_: str, **fields):
    return [file(f"{folder_}{name}", data, **fields) for name, data in BODIES.items()]


STACKS = {
    "RUN chmod": [tar(*files("")), tar(*files("", mode=0o755))],
    "RUN chmod of some": [tar(*files("")), tar(*files("", mode=0o755)[1:3])],
    "RUN mv": [tar(folder("x"), *files("x/")), tar(file(".wh.x"), folder("y"), *files("y/"))],
    "RUN mv and back": [
        tar(folder("x"), *files("x/")),
        tar(file(".wh.x"), folder("y"), *files("y/")),
        tar(file(".wh.y"), folder("x"), *files("x/")),
    ],
    "RUN cp": [tar(folder("x"), *files("x/")), tar(folder("y"), *files("y/"))],
    "RUN cp, then rm of the first": [
        tar(folder("x"), *files("x/")),
        tar(folder("y"), *files("y/")),
        tar(file("x/.wh.a"), file("x/.wh.b")),
    ],
    "RUN ln": [tar(*files("")), tar(*files("", mode=0o600)[:2], hardlink("e", "a"), hardlink("f", "c"))],
    "a link to a lower file": [
        tar(*files("")),
        tar(file("a2", BODIES["a"]), hardlink("a3", "a"), file(".wh.a")),
    ],
    "the same layer twice": [tar(*files("")), tar(file(".wh.a"), file(".wh.b")), tar(*files(""))],
    "through a symlink": [tar(folder("x"), *files("x/"), symlink("l", "x")), tar(*files("l/", mode=0o700))],
}


def projects(folder_: Path, uri: str):
    """Yield projects with one configuration, lock and store, each in a folder of its own."""
    first = folder_ / "0"
    config = first / "config"
    config.mkdir(parents=True)
    (config / "config.yaml").write_text(json.dumps({"store": {"path": str(folder_ / "store")}}))
    (config / "images.yaml").write_text(json.dumps({"images": {"it": {"from": uri}}}))
    LockRefresher(Project(first)).refresh("it")
    yield Project(first)
    for number in range(1, 9):
        shutil.copytree(config, folder_ / str(number) / "config")
        yield Project(folder_ / str(number))


def in_one_process(project: Project) -> bytes:
    with open_runner(project) as runner:
        for stage in STAGE_NAMES:
            runner.run(stage, "it")
    return project.path(TARGET, "it").read_bytes()


def a_process_per_stage(project: Project) -> bytes:
    for stage in STAGE_NAMES:
        with open_runner(Project(project.root)) as runner:
            runner.run(stage, "it")
    return project.path(TARGET, "it").read_bytes()


def resumed_after(project: Project, stage: str) -> bytes:
    """Build up to a stage, then go on in another process with all the rest."""
    with open_runner(project) as runner:
        for name in STAGE_NAMES[: STAGE_NAMES.index(stage) + 1]:
            runner.run(name, "it")
    return in_one_process(Project(project.root))


def without_the_tree(project: Project) -> bytes:
    """As after a run that removed its temporary files."""
    with open_runner(project) as runner:
        for stage in ("pull", "flatten"):
            runner.run(stage, "it")
    project.path(TREE, "it").unlink()
    with open_runner(Project(project.root)) as runner:
        runner.run("publish", "it")
    return project.path(TARGET, "it").read_bytes()


def build_all_ways(folder_: Path, uri: str) -> list[bytes]:
    ways = projects(folder_, uri)
    built = [in_one_process(next(ways)), a_process_per_stage(next(ways)), without_the_tree(next(ways))]
    return built + [resumed_after(next(ways), stage) for stage in ("flatten", "sif", "sign")]


@pytest.mark.parametrize("stack", STACKS)
def test_stacks_that_have_a_content_in_several_layers(tmp_path, stack):
    blobs = Blobs()
    write_layout(tmp_path / "image", blobs, {"latest": blobs.image(STACKS[stack])})
    assert len(set(build_all_ways(tmp_path, f"oci:{tmp_path}/image:latest"))) == 1


@needs_corpus
@pytest.mark.parametrize("uri", IMAGE_URIS)
def test_images_of_the_corpus(tmp_path, uri):
    try:
        built = build_all_ways(tmp_path, uri)
    except SifmakeError:
        pytest.skip("refused, as other tests show")
    assert len(set(built)) == 1


def test_a_tree_of_another_lock_is_not_taken(tmp_path):
    """Only the record says which layers a tree is of; a stage may be called alone."""
    blobs = Blobs()
    one = blobs.image(STACKS["RUN chmod"][:1])
    two = blobs.image([STACKS["RUN chmod"][0], tar(file(".wh.a"))])
    write_layout(tmp_path / "image", blobs, {"latest": one})
    project, clean, *_ = projects(tmp_path, f"oci:{tmp_path}/image:latest")
    with open_runner(project) as runner:
        runner.run("flatten", "it")
    write_layout(tmp_path / "image", blobs, {"latest": two})
    for other in (project, clean):
        LockRefresher(Project(other.root)).refresh("it")
    with open_runner(Project(project.root)) as runner:
        runner.run("sif", "it")
        runner.run("publish", "it")
    assert project.path(TARGET, "it").read_bytes() == in_one_process(Project(clean.root))


@pytest.mark.parametrize("damage", ["cut", "flip in the listing", "flip behind it", "empty", "of an earlier version"])
def test_a_damaged_tree_file_is_made_again(tmp_path, damage):
    blobs = Blobs()
    write_layout(tmp_path / "image", blobs, {"latest": blobs.image(STACKS["RUN chmod of some"])})
    one, two, *_ = projects(tmp_path, f"oci:{tmp_path}/image:latest")
    with open_runner(one) as runner:
        runner.run("flatten", "it")
    path = one.path(TREE, "it")
    data = bytearray(path.read_bytes())
    match damage:
        case "cut":
            del data[-3:]
        case "flip in the listing":
            data[40] ^= 1
        case "flip behind it":
            data[-14] ^= 1
        case "empty":
            data.clear()
        case "of an earlier version":
            del data[int.from_bytes(data[-12:-4], "little") :]
    path.write_bytes(data)
    assert in_one_process(Project(one.root)) == in_one_process(two)
