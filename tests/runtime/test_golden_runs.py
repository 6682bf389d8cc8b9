"""Every recorded run of the golden images, planned without starting anything: argv, environment, directory, status."""

from __future__ import annotations

import subprocess

import pytest

from sifmake.cli.running_parse import parse_plain, read_variables
from sifmake.cli.running_request import request_of
from sifmake.errors import SifmakeError
from sifmake.runtime import environment, program
from sifmake.runtime.caller import Caller
from sifmake.runtime.image import check_machine, open_image
from sifmake.runtime.layout import Layout
from sifmake.runtime.mounts import lay_out
from sifmake.runtime.view import View
from support import golden
from support.corpus import needs_corpus
from support.golden_runs import differences, numbers_marked, runs
from support.golden_sif import build_golden_sif
from support.squashfs_tools import needs_tools

WORK = "/var/lib/sifmake-golden"
CANNOT_BE_PULLED = {
    "arm64-lie": "the config says arm64, and sifmake takes it with --platform only",
    "multi-flat": "the peers cannot pull it, so there are no runs",
    "etc-abslink": "likewise",
    "etc-dangling": "likewise",
}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Return a function that makes a golden image's SIF and its unpacked tree."""
    base = tmp_path_factory.mktemp("golden-runs")

    def make(name):
        sif = build_golden_sif(name, base)
        root = base / f"{name}.root"
        offset = str(open_image(str(sif)).offset)
        subprocess.run(
            ["unsquashfs", "-q", "-n", "-o", offset, "-d", str(root), str(sif)], capture_output=True, check=False
        )
        return sif, root

    return make


def planned(run, sif, root, home):
    """Return what a run would give: the facts that ``show`` would print, or the status of the error."""
    args = parse_plain([run.action, *run.options, str(sif), *run.arguments])
    assert args is not None
    read_variables(args, run.host)
    request = request_of(args, run.host)
    caller = Caller()
    caller.home, caller.home_inside, caller.cwd, caller.environ = str(root / "tmp"), home, WORK, run.host
    try:
        check_machine(str(sif), open_image(str(sif)))
        view = View(str(root))
        layout = Layout(view, overlay="/overlay" if request.writable_tmpfs else "")
        view.add(WORK, str(root))
        cwd = lay_out(request, layout, caller)
        env = environment.build(request, view, run.host, cwd, home)
        words = program.arguments_of(request, view, env)
    except SifmakeError as error:
        return {"exit": error.exit_code}
    values = {name: value.replace(str(sif), f"<WORK>/{sif.name}") for name, value in env.values.items()}
    values["PWD"] = cwd.replace(WORK, "<WORK>/cwd")
    found = {"exit": 0, "env": numbers_marked(values), "cwd": values["PWD"]}
    return found | ({"argv": words} if words[0].endswith("/show") else {})


@needs_corpus
@needs_tools("unsquashfs")
@pytest.mark.parametrize("name", sorted(set(golden.names()) - set(CANNOT_BE_PULLED)))
def test_runs_are_as_apptainers(name, unpacked):
    sif, root = unpacked(name)
    home = "/root"
    compared = 0
    for run in runs(name, home):
        got = planned(run, sif, root, home)
        if name == "root-links":
            got.pop("cwd", None)
        if run.action == "exec" and run.arguments[0] == "env":
            got.pop("argv", None)
        assert differences(name, run, got) == []
        compared += 1
    assert compared > 0
