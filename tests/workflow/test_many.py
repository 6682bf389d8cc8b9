"""Many images: what an engine asks, opens and computes for each when nothing changed, counted.

Seconds depend on the machine; ``python -m benchmarks --only many`` measures them.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from support.docker_registry import Authority
from support.many_images import many, pretend_built
from support.project import SNAKEMAKE, Folder
from support.registry import FakeRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from support.counting_registry import CountingRegistry

MOST_OPENED = 14
"""Seven records and the lock; the note on the tag in the store, with the folders in which it is."""
MOST_LOOKED_AT = 20
"""The status of these files and of the finished one, for their times and to see that nothing is left over."""
FEW, MORE, MANY = 5, 10, 20

RUN = """
import json, os, sys, threading
from collections import Counter

counts = Counter()

def count(module, name, kind):
    real = getattr(module, name)
    def counted(*given, **named):
        counts[kind] += 1
        return real(*given, **named)
    setattr(module, name, counted)

def note(event, given):
    counts["opened"] += event == "open" and not isinstance(given[0], int)

import ssl
import yaml
import sifmake.doit
from sifmake.project import lock_file
from sifmake.registry import transport

count(os, "stat", "looked at")
count(yaml, "parse", "parsed as YAML")
count(lock_file, "read_lock", "locks read")
count(transport, "make_context", "contexts")
sys.addaudithook(note)
from doit.cmd_base import ModuleTaskLoader
from doit.doit_cmd import DoitMain
before = counts.copy()
status = DoitMain(ModuleTaskLoader(sifmake.doit)).run(sys.argv[1:])
print(json.dumps(counts - before))
sys.exit(status)
"""


def counted(folder: Folder) -> dict[str, int]:
    """Return what a run of doit that has nothing to do did, with all images together."""
    text = folder.run_program(sys.executable, "-c", RUN, "pull_image")
    assert text.count("-- pull_image:") == len(folder.images)
    return json.loads(text.splitlines()[-1])


def prepared(folder: Path, registry: FakeRegistry, ca_file: Path, count: int) -> Folder:
    host = registry.host.replace("127.0.0.1", "localhost")
    project = Folder(folder / "project", folder / "home")
    project.config |= {"registries": {host: {"ca-file": str(ca_file)}}, "parallel-requests": 4}
    many(project, registry, count, host)
    pretend_built(project)
    return project


def test_one_more_image_costs_as_much_in_a_large_project_as_in_a_small_one(tmp_path: Path) -> None:
    authority, found = Authority(tmp_path), []
    with FakeRegistry(tls=authority.issue("registry")) as registry:
        for count in (FEW, MORE, MANY):
            project = prepared(tmp_path / str(count), registry, authority.ca_file, count)
            counted(project)  # the first run writes bytecode and the store's folders
            registry.log.clear()
            registry.connections = 0
            found.append(counted(project))
            assert [request.method for request in registry.log] == ["HEAD"] * count
            assert registry.connections <= 4
    few, more, most = found
    for kind, number in most.items():
        one, later = (more[kind] - few[kind]) / (MORE - FEW), (number - more[kind]) / (MANY - MORE)
        assert later <= 1.3 * one + 0.5, kind
    assert most["contexts"] == 1
    assert most["locks read"] == MANY
    assert most["parsed as YAML"] == few["parsed as YAML"]
    assert (most["opened"] - more["opened"]) / (MANY - MORE) <= MOST_OPENED
    assert (most["looked at"] - more["looked at"]) / (MANY - MORE) <= MOST_LOOKED_AT


def test_snakemake_plans_many_images_without_a_request_and_writes_nothing(
    project: Folder, registry: CountingRegistry
) -> None:
    many(project, registry, 50)
    pretend_built(project)
    files = project.files()
    assert "Nothing to be done" in project.snakemake("-n")
    assert registry.counts() == {}
    assert project.files() == files


def test_a_small_image_is_built_with_few_processes(project: Folder, registry: CountingRegistry) -> None:
    many(project, registry, 3)
    project.run_program(*SNAKEMAKE)
    assert len(list((project.root / "images").iterdir())) == 3
