"""What sections leave equals what Apptainer recorded for the 29 files, apart from what is listed here.

Not compared: texts of the peers' own scripts (the record has only their size), and the label with Apptainer's version.
What ``%post``, ``%setup`` and ``%files`` make is compared where images are built.
"""

import json
import subprocess

import pytest

from sifmake.layers.entry import DIR, FILE
from support.corpus import needs_corpus
from support.definition_trees import VERSION, Made, is_withheld, ours_for, recorded_of, without_version
from support.definitions import GOOD

RUN = [(name, "apptainer", None) for name in GOOD] + [
    ("13-labels-post", "noforce", None),
    ("15-local", "noforce", None),
    ("22-rich-base", "noforce", None),
    ("11-arguments", "noforce", {"NAME": "you"}),
]
"""Name, folder of the record, build arguments; those in ``noforce`` were built without ``--force``."""

BY_SCRIPTS = {
    "/scif/apps/foo-bar/bin/tool",
    "/scif/apps/foo-bar/bin/two.txt",
    "/scif/apps/foo-bar/data.txt",
    "/scif/apps/foo-bar/scif-env",
    "/scif/apps/foo-bar/where",
}
"""Made by ``%appinstall`` and ``%appfiles``."""
OF_BASE = {"/.singularity.d/env/10-docker2singularity.sh", "/.singularity.d/runscript"}
"""Made from the config of base2, which is not the base that others are compared with."""


def made(name, folder, arguments):
    record = recorded_of("build-arg" if arguments else name, folder)
    return Made(name, record, force=folder == "apptainer", arguments=arguments), record


@needs_corpus
@pytest.mark.parametrize(
    ("name", "folder", "arguments"), RUN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_files_and_modes(name, folder, arguments):
    got, record = made(name, folder, arguments)
    after = got.facts()
    changed = {path for path, fact in after.items() if got.before.get(path) != fact}
    wanted = {path for path in record["tree"] if path.startswith(("/.singularity.d/", "/scif/"))} - BY_SCRIPTS
    if name.startswith(("22", "23", "16")):
        wanted -= OF_BASE - changed
    if name.startswith("15"):
        changed |= wanted & set(after)  # the record compares with an image without any section
    assert changed == wanted
    for path in wanted:
        entry, (kind, mode, uid, data) = record["tree"][path], after[path]
        assert ({"f": FILE, "d": DIR}[entry["type"]], int(entry["mode"], 8), entry["uid"]) == (kind, mode, uid), path
        text = record["texts"].get(path, "")
        if kind == FILE and (not is_withheld(text) or path.endswith("/90-environment.sh")):
            assert data.decode() == without_version(ours_for(text, path)), path


@needs_corpus
@pytest.mark.parametrize(
    ("name", "folder", "arguments"), RUN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_inspect(name, folder, arguments):
    got, record = made(name, folder, arguments)
    wanted = record["inspect --all"]["data"]["attributes"]
    del wanted["labels"][VERSION]
    found = got.inspect()
    for key in [key for key in ("runscript", "startscript") if is_withheld(wanted.get(key, ""))]:
        del wanted[key], found[key]
    for path, text in wanted.get("environment", {}).items():
        wanted["environment"][path] = ours_for(text, path).rstrip("\n")
    assert found == wanted
    if folder == "noforce" and not arguments:
        assert len(got.warnings) == (2 if name.startswith("15") else 1)


@needs_corpus
def test_scripts_of_apps_give_the_recorded_variables(tmp_path):
    got, record = made("12-apps", "apptainer", None)
    for number, path in enumerate(("/.singularity.d/env/94-appsbase.sh", "/scif/apps/foo-bar/scif/env/01-base.sh")):
        (tmp_path / str(number)).write_text(got.text(path))
    script = f". {tmp_path}/0; . {tmp_path}/1; env | grep SCIF | LC_ALL=C sort"
    done = subprocess.run(["/bin/sh", "-ec", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True)
    assert done.stdout.decode() == record["texts"]["/scif/apps/foo-bar/scif-env"]


@needs_corpus
def test_labels_are_those_of_the_last_stage():
    got, _ = made("10-multistage", "apptainer", None)
    labels = json.loads(got.text("/.singularity.d/labels.json"))
    assert labels["Stage"] == "two"
    assert labels["org.label-schema.usage.singularity.deffile.stage"] == "final"
