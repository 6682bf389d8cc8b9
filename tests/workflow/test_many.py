"""Hundreds of images: what an engine costs when nothing changed, and when everything did."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from sifmake.project.lock_file import write_lock
from sifmake.project.locks import Lock, LockedLayer
from sifmake.project.project import Project
from sifmake.project.records import write_record
from sifmake.stages.freshness import stage_key
from sifmake.stages.stage import all_stages
from support.layers import file, tar
from support.project import SNAKEMAKE

STAGES = all_stages()

if TYPE_CHECKING:
    from support.counting_registry import CountingRegistry
    from support.project import Folder

SLACK = float(os.environ.get("SIFMAKE_TEST_SLACK", "3"))
"""How much slower than a quiet machine the one that runs the tests may be."""


def many(project: Folder, registry: CountingRegistry, count: int) -> None:
    """Lock images without asking anyone; all tags mean one image."""
    image = registry.blobs.image([tar(file("etc/motd", b"hello"))])
    manifest = registry.blobs.document(image)
    for number in range(count):
        registry.tags[f"app{number}:1"] = image
        project.images[f"app{number}"] = {"from": f"docker://{registry.host}/app{number}:1"}
    project.write()
    opened = Project(project.root)
    for name, settings in opened.images.items():
        layers = tuple(LockedLayer(layer["digest"], layer["size"]) for layer in manifest["layers"])
        lock = Lock(
            source=settings.source,
            name=settings.source.rest,
            digest=image["digest"],
            platform=settings.platform,
            manifest=image["digest"],
            config=manifest["config"]["digest"],
            layers=layers,
            build=opened.wanted_build(settings),
        )
        write_lock(opened.lock_path(name), lock)


def pretend_built(project: Folder) -> None:
    """Write the records and targets that a build would have left."""
    opened = Project(project.root)
    (project.root / "images").mkdir()
    for name in opened.images:
        for stage in STAGES:
            record = opened.record(stage.name, name)
            write_record(record, stage.name, stage_key(opened, stage.name, opened.lock(name)), {"size": 4})
        project.target(name).write_bytes(b"done")


def timed(action, *arguments: str) -> tuple[float, str]:
    started = time.monotonic()
    text = action(*arguments)
    return time.monotonic() - started, text


def test_five_hundred_images_up_to_date(project: Folder, registry: CountingRegistry) -> None:
    many(project, registry, 500)
    pretend_built(project)
    files = project.files()
    seconds, text = timed(project.doit, "pull_image")
    assert text.count("-- pull_image:") == 500
    assert registry.counts() == {"HEAD manifest": 500}
    assert seconds < 5 * SLACK
    registry.forget()
    planning, text = timed(project.run_program, *SNAKEMAKE, "-n")
    assert "Nothing to be done" in text
    assert planning < 10 * SLACK
    assert registry.counts() == {}
    assert project.files() == files
    print(f"500 up to date: doit {seconds:.2f} s, snakemake -n {planning:.2f} s")  # noqa: T201


def test_stale_images_of_one_tiny_layer(project: Folder, registry: CountingRegistry) -> None:
    """A tenth of the hundred images that a quiet machine must build in 40 s, to keep the suite short."""
    many(project, registry, 10)
    seconds, _ = timed(project.run_program, *SNAKEMAKE)
    assert len(list((project.root / "images").iterdir())) == 10
    assert seconds < 4 * SLACK + 3
    print(f"10 stale: snakemake {seconds:.2f} s")  # noqa: T201
