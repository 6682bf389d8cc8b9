"""What decides the processor time of a start and of one more file, counted, because seconds depend on the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib

import pytest

from sifmake.assembly.placing import place_tails, plan_packs
from sifmake.flatten.flattened import merge
from sifmake.squashfs import SquashfsOptions, draft_tables
from support.images import Blobs, write_layout
from support.layers import file, make_pack, tar

MOST_DATACLASSES = 12
"""Each takes 0.3 ms of every start; there were 59."""
MOST_MODULES = 165
MOST_TO_BUILD = 50, 200
"""Dataclasses and modules of sifmake in a build from a definition that has nothing to do; there were 73 and 225."""
MOST_CALLS = 4.5
"""Functions of Python called for each file when layers are merged and tables are made; there were 7."""
LOOK = """
import dataclasses, json, sys
from sifmake.cli.main import run
status = run(json.loads(sys.argv[1]))
own = [module for name, module in sys.modules.items() if name.partition(".")[0] == "sifmake"]
made = {value for module in own for value in vars(module).values() if isinstance(value, type)}
facts = {
    "modules": sorted(sys.modules),
    "own": len(own),
    "dataclasses": sorted(kind.__name__ for kind in made if dataclasses.is_dataclass(kind)),
}
print(json.dumps(facts))
sys.exit(status)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    blobs = Blobs()
    write_layout(folder / "layout", blobs, {"latest": blobs.image([tar(file("a", b"a"))])})
    (folder / "config").mkdir()
    (folder / "config/images.yaml").write_text("images: {x: {from: 'oci:layout'}}\n")
    (folder / "x.def").write_text("Bootstrap: oci\nFrom: layout\n%environment\n    export A=b\n%labels\n    a b\n")
    return folder


def loaded(project, *words):
    """Run a command that has nothing to do in a process of its own; return what it has loaded."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(project), "SIFMAKE_CACHE": str(project / "store")}
    command = [sys.executable, "-c", LOOK, json.dumps(words)]
    for _ in range(2):
        ran = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def test_a_pull_from_the_store_loads_little(project):
    facts = loaded(project, "pull", "-q", "-F", "x.sif", "oci:layout")
    assert facts["own"] <= MOST_MODULES
    assert len(facts["dataclasses"]) <= MOST_DATACLASSES, facts["dataclasses"]
    assert {"shutil", "lzma", "tempfile"}.isdisjoint(facts["modules"])


def test_a_build_that_has_nothing_to_do_loads_no_part_that_runs_or_copies(project):
    facts = loaded(project, "build", "-q", "-F", "x.sif", "x.def")
    assert len(facts["dataclasses"]) <= MOST_TO_BUILD[0], facts["dataclasses"]
    assert facts["own"] <= MOST_TO_BUILD[1]
    unused = {"definition.host_copying", "definition.shell_scan", "project.locks", "rootless.post", "steps.file_list"}
    unused |= {"builder.image_signing", "builder.image_test", "signing", "steps.sandbox"}
    assert {f"sifmake.{name}" for name in unused}.isdisjoint(facts["modules"])
    assert {"shutil", "subprocess", "tempfile"}.isdisjoint(facts["modules"])


def test_a_stage_that_is_up_to_date_loads_no_image_code(project):
    assert loaded(project, "lock", "-q")["own"]
    facts = loaded(project, "stage", "pull", "x")
    assert {"msgspec", "sifmake.oci", "sifmake.sif", "sifmake.sources"}.isdisjoint(facts["modules"])


def calls_for(folder, count):
    """Count the calls of functions of Python that turn a pack with so many files into tables."""
    raw = tar(*(file(f"d{at // 100:03}/f{at:05}", b"%d" % at) for at in range(count)))
    calls = 0

    def note(_frame, event, _argument):
        nonlocal calls
        calls += event == "call"

    with make_pack(folder / str(count), raw) as pack:
        sys.setprofile(note)
        try:
            tree = merge([pack], 0).tree
            plan, tails = plan_packs(tree, [pack])
            draft_tables(tree, plan.placement, place_tails(plan, tails), zlib.compress, SquashfsOptions())
        finally:
            sys.setprofile(None)
    return calls


def test_one_more_file_costs_few_calls(tmp_path):
    small, large = calls_for(tmp_path, 1000), calls_for(tmp_path, 3000)
    assert (large - small) / 2000 <= MOST_CALLS
