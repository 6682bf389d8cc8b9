"""What a program sees in every golden image, with every recorded argument vector, is what Apptainer's record says."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import golden
from support.corpus import needs_corpus
from support.golden_runs import differences, numbers_marked, runs
from support.golden_sif import build_golden_sif
from support.runtime import as_ordinary, needs_root, needs_runtime, run

if TYPE_CHECKING:
    import subprocess

CANNOT_BE_PULLED = {
    "arm64-lie": "the config says arm64, and sifmake takes it with --platform only",
    "multi-flat": "the peers cannot pull it, so there are no runs",
    "etc-abslink": "likewise",
    "etc-dangling": "likewise",
}
IMAGES = sorted(set(golden.names()) - set(CANNOT_BE_PULLED))
HOMES = {"root": "/root", "ordinary": "/home/cloudsdk"}


@pytest.fixture(scope="module")
def folder():
    """A folder that everybody can read and write."""
    path = Path(tempfile.mkdtemp(prefix="sifmake-test-", dir="/var/lib"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


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


@needs_corpus
@needs_runtime
@needs_root
@pytest.mark.parametrize("user", list(HOMES))
@pytest.mark.parametrize("name", IMAGES)
def test_programs_see_what_apptainer_gives(name, user, folder):
    sif = build_golden_sif(name, folder)
    before = [] if user == "root" else as_ordinary(fuse=True)
    compared = 0
    for item in runs(name, HOMES[user]):
        line = [item.action, *item.options, str(sif), *item.arguments]
        done = run(*line, before=before, env=item.host, cwd=folder)
        got = seen(done, folder)
        if name == "root-links" and user == "ordinary":
            got.pop("cwd", None)  # the record has root's home behind a link of its own
        assert ("argv" in got) == ("argv" in item.want) or got["exit"] != 0 or item.action == "test", done.stderr
        assert differences(name, item, got) == []
        compared += 1
    assert compared > 0
