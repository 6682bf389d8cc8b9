"""Few processes, open files or memory, as on login nodes: it works, or one line names the limit; nothing is left.

CI tries a few limits, ``SIFMAKE_RELIABILITY=long`` each from where Python starts to where all works.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from sifmake.temporaries import TEMP_PREFIX
from support.faults import MIB, pull_image, write_image
from support.runtime import BUSYBOX, environment, needs_root, needs_runtime, open_folder, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = os.environ.get("SIFMAKE_RELIABILITY") == "long"
NOBODY_ELSE = 54321
"""A user of whom nothing else runs, because the limit counts all processes of a user."""
LIMITS = {
    "processes": (range(1, 24) if LONG else (2, 5, 9), "ulimit -u"),
    "files": (range(6, 40) if LONG else (6, 40), "ulimit -n"),
    "memory": ([n * MIB for n in range(20, 300, 10 if LONG else 100)], "ulimit -v"),
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder with an image and a SIF file that everybody can read."""
    with open_folder() as folder:
        write_image(folder / "image", 400_000)
        if BUSYBOX.is_file():
            shutil.copy(BUSYBOX, folder / "tool.sif")
        pull_image(f"oci:{folder}/image:latest", folder / "good.sif", folder / "good")
        (folder / "work").mkdir()
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o777 if path.is_dir() else 0o644)
        yield folder


def said(place: Path, what: str, limit: int, *words: str) -> tuple[int, bytes, str]:
    """Run a command as a user with a limit; return status, output and errors."""
    options = {"processes": "--nproc", "files": "--nofile", "memory": "--as"}
    user = ["setpriv", f"--reuid={NOBODY_ELSE}", f"--regid={NOBODY_ELSE}", "--clear-groups", "--"]
    before = ["prlimit", f"{options[what]}={limit}", "--", *user]
    folders = {"SIFMAKE_CACHE": str(place / "work" / "store"), "SIFMAKE_TMPDIR": str(place / "work")}
    done = run(*words, before=before, env=environment(HOME=str(place / "work"), **folders), cwd=place / "work")
    return done.returncode, done.stdout, done.stderr.decode()


def left(place: Path) -> list[str]:
    return [str(path) for path in (place / "work").rglob("*") if path.name.startswith((TEMP_PREFIX, "sifmake-run-"))]


CASES = [(what, limit) for what, (limits, _) in LIMITS.items() for limit in limits]


@needs_runtime
@needs_root
@pytest.mark.parametrize(("what", "limit"), CASES)
def test_exec_works_or_names_the_limit(place, what, limit):
    words = ["exec", "--runtime", "builtin", str(place / "tool.sif"), "echo", "ran"]
    status, output, errors = said(place, what, limit, *words)
    assert (status, output) in [(0, b"ran\n"), (255, b"")], errors
    assert status == 0 or (errors.count("\n") == 1 and LIMITS[what][1] in errors), errors
    assert left(place) == []


@needs_root
@pytest.mark.parametrize(("what", "limit"), CASES)
def test_a_pull_works_or_names_the_limit(place, what, limit):
    shutil.rmtree(place / "work" / "store", ignore_errors=True)
    (place / "work" / "a.sif").write_bytes(b"old")
    (place / "work" / "a.sif").chmod(0o666)
    status, _, errors = said(place, what, limit, "-q", "pull", "-F", "a.sif", f"oci:{place}/image:latest")
    assert "Traceback" not in errors
    assert status == 0 or LIMITS[what][1] in errors.splitlines()[-1], errors
    wanted = (place / "good.sif").read_bytes() if status == 0 else b"old"
    assert (place / "work" / "a.sif").read_bytes() == wanted
    assert left(place) == []
