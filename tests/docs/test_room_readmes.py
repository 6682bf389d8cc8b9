"""Each room of the house has a README with a picture, all of its modules, and code that runs; so has the how-to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.project import BIN, REPOSITORY, Folder

if TYPE_CHECKING:
    from pathlib import Path

HOWTO = REPOSITORY / "docs/howto/python.md"
ROOMS = sorted(path.parent for path in (REPOSITORY / "src/sifmake").glob("*/__init__.py"))


def readme(room: Path) -> str:
    return (room / "README.md").read_text()


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_readme_has_a_picture_and_names_every_module(room) -> None:
    assert "```mermaid\n" in readme(room)
    modules = [path.stem for path in room.glob("*.py") if path.stem != "__init__"]
    assert [name for name in modules if not re.search(rf"`(?:[\w/.]*/)?{name}(?:\.py)?`", readme(room))] == []


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Folder:
    """Return a project that is built, with what the examples use: a layout, a SIF file, a signed one, and packs."""
    folder = tmp_path_factory.mktemp("rooms")
    project = Folder(folder / "project", folder / "home", environ={"HOME": str(folder / "home")})
    project.environ |= {"SIFMAKE_PASSPHRASE": "long-enough", "PATH": f"{BIN}:{os.environ['PATH']}"}
    project.config = {}
    project.images["hello"] = {"from": "oci:layout:latest"}
    project.write()
    shutil.copytree(REPOSITORY / "examples/hello/layout", project.root / "layout")
    project.run("sifmake", "lock")
    project.run("sifmake", "pull", "hello.sif", "oci:layout:latest")
    shutil.copy(project.root / "hello.sif", project.root / "signed.sif")
    project.run("sifmake", "key", "newpair", "mine")
    project.run("sifmake", "sign", "--key", "mine", "signed.sif")
    shutil.copytree(folder / "home/configuration/keys/trusted", project.root / "keys")
    (project.root / "packs").mkdir()
    for number, path in enumerate(path for path in (folder / "home/store/packs").glob("*/*") if path.is_file()):
        shutil.copy(path, project.root / f"packs/{number}")
    return project


@pytest.mark.parametrize("page", [*(room / "README.md" for room in ROOMS), HOWTO], ids=lambda page: page.parent.name)
def test_the_code_on_a_page_runs(page, workshop) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        command = [sys.executable, "-W", "error", "-c", block]
        done = subprocess.run(
            command, cwd=workshop.root, env=workshop.variables(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
