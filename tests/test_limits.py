"""Every limit has a default, a setting, a row in the documents and a place where it is used."""

from __future__ import annotations

import re
from itertools import repeat
from typing import TYPE_CHECKING

import pytest
import yaml

from sifmake.layers.entry import FILE, Entry
from sifmake.layers.image_budget import ImageBudget
from sifmake.limits import GIB, KIB, MIB, Limits
from sifmake.project.configuration import load_configuration
from sifmake.project.yaml_file import SCHEMAS
from sifmake.squashfs.budget import Budget

if TYPE_CHECKING:
    from pathlib import Path

NAMES = Limits._fields
UNITS = {"KiB": KIB, "MiB": MIB, "GiB": GIB, "": 1}


def test_the_schema_knows_every_limit_and_no_other() -> None:
    schema = yaml.safe_load((SCHEMAS / "config.schema.yaml").read_text())
    assert set(schema["properties"]["limits"]["properties"]) == {name.replace("_", "-") for name in NAMES}


def test_the_table_shows_every_default(repository: Path) -> None:
    rows = re.findall(
        r"^\| `([a-z-]+)` \| ([\d,]+) ?(\w*) \| (.+) \|$", (repository / "docs/limits.md").read_text(), re.MULTILINE
    )
    shown = {name.replace("-", "_"): int(value.replace(",", "")) * UNITS[unit] for name, value, unit, _ in rows}
    assert shown == {name: getattr(Limits(), name) for name in NAMES}, "run python docs/generate.py"


@pytest.mark.parametrize("name", NAMES)
def test_every_limit_is_used(repository: Path, name: str) -> None:
    sources = [path for path in (repository / "src").rglob("*.py") if path.name != "limits.py"]
    assert any(re.search(rf"\.{name}\b", path.read_text()) for path in sources)


@pytest.mark.parametrize("name", NAMES)
def test_every_limit_can_be_set(tmp_path: Path, name: str) -> None:
    value = {"head_bytes": 1099, "zstd_window_log": 20}.get(name, 99)
    (tmp_path / "config.yaml").write_text(f"limits: {{{name.replace('_', '-')}: {value}}}\n")
    assert getattr(load_configuration(tmp_path / "config.yaml", tmp_path).limits, name) == value


@pytest.mark.parametrize(
    ("files", "layers", "image"), [(300_000, 4_400_000, 4_200_000), (1_000_000, 15_800_000, 14_400_000)]
)
def test_an_honest_image_of_many_small_files_is_within_the_defaults(files: int, layers: int, image: int) -> None:
    """The sizes are those of real files with a number in each, which are hard to make smaller."""
    entry = Entry(b"usr/lib/python3/dist-packages/folder/sub/module_1234567.py", FILE, 0o644, 0, 0, 0, 10, 0)
    for _ in ImageBudget(Limits(), layers).listing(repeat(entry, files)):
        pass
    budget = Budget(Limits(), image)
    for _ in repeat(None, files):
        budget.count_name(entry.path, b"")
