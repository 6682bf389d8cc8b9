"""What a program sees in every golden image, with every recorded argument vector, is what Apptainer's record says.

As root these are only the runs in which a user has a part: the others would take half a minute more.
"""

from __future__ import annotations

import json
import pwd
from typing import TYPE_CHECKING, Any

import pytest

from support import golden
from support.corpus import needs_corpus
from support.golden_runs import differences, numbers_marked, runs
from support.golden_sif import build_golden_sif
from support.runtime import ORDINARY, as_ordinary, needs_root, needs_runtime, open_folder, run

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

CANNOT_BE_PULLED = {
    "arm64-lie": "the config says arm64, and sifmake takes it with --platform only",
    "multi-flat": "the peers cannot pull it, so there are no runs",
    "etc-abslink": "likewise",
    "etc-dangling": "likewise",
}
IMAGES = sorted(set(golden.names()) - set(CANNOT_BE_PULLED))
KNOWN = [entry.pw_dir for entry in pwd.getpwall() if entry.pw_uid == ORDINARY]
HOMES = {"root": "/root", "ordinary": KNOWN[0] if KNOWN else "/home/ordinary"}


@pytest.fixture(scope="module")
def folder():
    with open_folder() as path:
        yield path


def seen(done: subprocess.CompletedProcess[bytes], folder: Path) -> dict[str, Any]:
    """Return what ``show`` has printed as the records have it; of other programs only the exit status counts."""
    got: dict[str, Any] = {"exit": done.returncode}
    if not done.stdout.startswith(b'{"argv"'):
        return got
    shown = json.loads(done.stdout)
    pairs = [text.encode("latin-1").decode().partition("=") for text in shown["env"]]
    env = {key: recorded(value, folder) for key, _, value in pairs}
    argv = [word.encode("latin-1").decode() for word in shown["argv"]]
    cwd = recorded(shown["cwd"], folder)
    return got | {"argv": argv, "env": numbers_marked(env), "cwd": cwd, "umask": f"{shown['umask']:03o}"}


def recorded(text: str, folder: Path) -> str:
    """Return a text with the folder named as in the records."""
    return text.replace(f"{folder}/", "<WORK>/").replace(str(folder), "<WORK>/cwd")


def differing(name: str, user: str, sif: Path, folder: Path) -> list[str]:
    """Do a user's runs of an image and return how they differ from the records."""
    before = [] if user == "root" else as_ordinary(fuse=True)
    found: list[str] = []
    for item in runs(name, HOMES[user]):
        if user == "root" and item.label not in ("exec show", "env rich") and "$HOME" not in item.label:
            continue
        done = run(item.action, *item.options, str(sif), *item.arguments, before=before, env=item.host, cwd=folder)
        got = seen(done, folder)
        if name == "root-links" and user == "ordinary":
            got.pop("cwd", None)  # the record has root's home behind a link of its own
        if got["exit"] == 0 and "argv" in item.want and "argv" not in got:
            found.append(f"{item.label}: nothing is shown: {done.stderr.decode()}")
        found += differences(name, item, got)
    return found


@needs_corpus
@needs_runtime
@needs_root
@pytest.mark.parametrize("name", IMAGES)
def test_programs_see_what_apptainer_gives(name, folder):
    sif = build_golden_sif(name, folder)
    labels = [item.label for item in runs(name, HOMES["root"])]
    assert "exec show" in labels
    assert {user: differing(name, user, sif, folder) for user in HOMES} == {user: [] for user in HOMES}
