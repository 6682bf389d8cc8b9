"""The page on file formats says what the code writes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import msgspec

from sifmake import formats
from sifmake.assembly import patch_file
from sifmake.layers import entry, pack_format
from sifmake.project.steps_lock import format_steps_lock, read_steps_lock
from sifmake.sources import recipe
from support.project import REPOSITORY, Folder

PAGE = (REPOSITORY / "docs/reference/formats.md").read_text()


def test_numbers_of_the_formats() -> None:
    table = dict(re.findall(r"^\| (pack|tree|SIF|patch) \| (\d+) \|", PAGE, flags=re.MULTILINE))
    numbers = (formats.PACK_VERSION, formats.TREE_VERSION, formats.SIF_VERSION, patch_file.PATCH_VERSION)
    assert table == dict(zip(("pack", "tree", "SIF", "patch"), map(str, numbers), strict=True))


def test_footers() -> None:
    assert f"footer, {pack_format.FOOTER.size} bytes" in PAGE
    assert f"| footer | {patch_file.FOOTER.size} bytes, below |" in PAGE
    assert f"`{pack_format._MAGIC.decode()}`" in PAGE
    assert f"`{patch_file.MAGIC.decode()}`" in PAGE


def test_recipe() -> None:
    assert f"`{recipe.RECIPE}`" in PAGE
    assert f"`{recipe.MAGIC.decode()}`" in PAGE
    assert f"| {recipe.HEADER.size} | {recipe.ROW.size} for each range |" in PAGE
    assert f"grain, 0 to {recipe.MOST_GRAIN} |" in PAGE


def test_names_of_all_fields() -> None:
    structs = (entry.Entry, entry.Content, pack_format.Meta, patch_file.PatchIndex, patch_file.Group)
    names = {field.name for struct in structs for field in msgspec.structs.fields(struct)}
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []


def test_the_lock_of_steps_on_the_page_is_one(tmp_path) -> None:
    example = re.search(r"^```yaml\n(# Written by sifmake: .*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert example is not None
    (tmp_path / "x.yaml").write_text(example[1])
    lock = read_steps_lock(tmp_path / "x.yaml")
    assert format_steps_lock(lock).decode() == example[1]
    names = {"run", "layer", "files", "mode", "snapshot", "labels", "ended"}
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []


def test_the_reader_on_the_page_reads_packs(tmp_path) -> None:
    project = Folder(tmp_path / "project", tmp_path / "home", environ={"HOME": str(tmp_path / "home")})
    project.config = {}
    project.run("sifmake", "pull", "hello.sif", f"oci:{REPOSITORY}/examples/hello/layout:latest")
    program = re.search(r"^```python title=\"read_pack.py\"\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert program is not None
    (tmp_path / "read_pack.py").write_text(program[1])
    packs = sorted(path for path in tmp_path.rglob("packs/*/*") if path.is_file())
    assert len(packs) == 3
    listed = ""
    for pack in packs:
        command = [sys.executable, tmp_path / "read_pack.py", pack]
        listed += subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "usr/bin/hello" in listed


def test_the_lock_on_the_page_is_that_of_the_example(tmp_path) -> None:
    project = Folder(tmp_path / "project", tmp_path / "home", environ={"HOME": str(tmp_path / "home")})
    project.config = {}
    shutil.copytree(REPOSITORY / "examples/hello/layout", project.root / "layout")
    project.images["hello"] = {"from": "oci:layout:latest"}
    project.write()
    project.run("sifmake", "lock")
    example = re.search(r"^```yaml\n(# Written by.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert example is not None
    assert (project.root / "config/locks/hello.yaml").read_text() == example[1]
