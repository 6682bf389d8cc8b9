"""What a stage left and somebody damaged is made again by the next one: nothing damaged is published, nothing stuck."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
from snakemake.exceptions import WorkflowError

from sifmake.drivers.snakemake_support import Workflow
from sifmake.project.project import Modes, Project
from sifmake.project.stage_table import SIGNED, STAGE_NAMES, TARGET, TREE, UNSIGNED
from sifmake.sif import DataType, open_sif
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from support.faults import pull_image
from support.images import Blobs, write_layout
from support.layers import file, folder, tar
from support.messages import Messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOISE = random.Random(11)
LAYERS = [tar(folder("bin"), file("bin/sh", NOISE.randbytes(200_000), mode=0o755)), tar(file("etc/a", b"a"))]


def flip(at: float) -> Callable[[bytearray], None]:
    def damage(data: bytearray) -> None:
        data[int(at * (len(data) - 1))] ^= 1

    return damage


def zero(data: bytearray) -> None:
    data[len(data) // 2 : len(data) // 2 + 4096] = bytes(len(data[len(data) // 2 : len(data) // 2 + 4096]))


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


DAMAGES = {
    "header": flip(0),
    "table": flip(0.02),
    "padding": flip(0.14),
    "data": flip(0.5),
    "end": flip(1),
    "zeros": zero,
    "cut": cut,
    "empty": bytearray.clear,
}


def damage(path: Path, how: Callable[[bytearray], None]) -> None:
    data = bytearray(path.read_bytes())
    how(data)
    path.write_bytes(data)


@pytest.fixture(params=["no key", "key", "a finished file"])
def project(request, tmp_path) -> Project:
    blobs = Blobs()
    write_layout(tmp_path / "image", blobs, {"latest": blobs.image(LAYERS)})
    uri = f"oci:{tmp_path}/image:latest"
    if request.param == "a finished file":
        pull_image(uri, tmp_path / "finished.sif", tmp_path / "other")
        uri = f"file:{tmp_path}/finished.sif"
    config = tmp_path / "project" / "config"
    config.mkdir(parents=True)
    key = {"key": "development"} if request.param == "key" else {}
    (config / "config.yaml").write_text(json.dumps({"store": {"path": str(tmp_path / "store")}} | key))
    (config / "images.yaml").write_text(json.dumps({"images": {"it": {"from": uri}}}))
    LockRefresher(Project(tmp_path / "project")).refresh("it")
    return Project(tmp_path / "project")


def run(project: Project, *stages: str, modes: Modes | None = None) -> list[str]:
    """Run stages, each as in a process of its own; return the warnings."""
    listener = Messages()
    for stage in stages:
        with open_runner(Project(project.root, modes, listener)) as runner:
            runner.run(stage, "it")
    return listener.warnings


def objects(path: Path) -> dict[int, bytes]:
    """Return everything in a SIF file but the signature, which is another each time."""
    with open_sif(path) as sif:
        return {item.id: sif.read(item, 1 << 30) for item in sif.objects if item.data_type != DataType.SIGNATURE}


def finished(project: Project) -> object:
    path = project.path(TARGET, "it")
    run(project, "verify", "publish")
    return objects(path) if project.configuration.key else path.read_bytes()


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize(
    ("pattern", "after"), [(TREE, "flatten"), (UNSIGNED, "sif"), (SIGNED, "sign"), (SIGNED, "verify")]
)
def test_a_big_file_that_was_damaged_between_stages_is_made_again(project, pattern, after, how):
    run(project, *STAGE_NAMES)
    good = finished(project)
    run(project, "flatten")
    with open_runner(project) as runner:
        for stage in STAGE_NAMES[: STAGE_NAMES.index(after) + 1]:
            runner.run(stage, "it", force=True)
    project.path(TARGET, "it").unlink()
    damage(project.path(pattern, "it"), DAMAGES[how])
    warnings = run(project, *STAGE_NAMES[STAGE_NAMES.index(after) + 1 :])
    assert finished(project) == good
    if how not in ("cut", "empty") and pattern != TREE:
        assert any("was damaged" in text for text in warnings)
    assert run(project, *STAGE_NAMES) == []


@pytest.mark.parametrize("stage", STAGE_NAMES)
@pytest.mark.parametrize("at", range(4))
def test_a_record_that_was_damaged_counts_as_missing(project, stage, at):
    run(project, *STAGE_NAMES)
    good = finished(project)
    damage(project.record(stage, "it"), flip(0.1 + at / 4))
    run(project, *STAGE_NAMES)
    assert finished(project) == good


def test_signing_again_what_is_finished_leaves_nothing_to_publish(project):
    """The signed file is a second name of the finished one then."""
    run(project, *STAGE_NAMES)
    with open_runner(project) as runner:
        runner.run("sign", "it", force=True)
        assert runner.run("publish", "it")
    assert not project.path(SIGNED, "it").exists()
    with open_runner(Project(project.root)) as runner:
        assert not runner.run("publish", "it")


def test_a_finished_file_with_other_bytes_is_noticed_when_asked(project):
    run(project, *STAGE_NAMES)
    good = finished(project)
    damage(project.path(TARGET, "it"), DAMAGES["data"])
    run(project, *STAGE_NAMES)
    assert finished(project) != good, "only the size is compared"
    run(project, *STAGE_NAMES, modes=Modes.find({}, check="1"))
    assert finished(project) == good


def test_snakemake_names_a_finished_file_with_other_bytes_when_asked(project):
    run(project, *STAGE_NAMES)
    damage(project.path(TARGET, "it"), DAMAGES["data"])
    options = {"root": str(project.root), "check": 1}
    with pytest.raises(WorkflowError, match="does not have the bytes that were published; run `snakemake"):
        Workflow(options, options)
