"""Each stage is one file: nothing else says what its files, its format or its key are."""

import dataclasses
from pathlib import Path

import pytest

import sifmake.stages
from sifmake.formats import build_format_versions
from sifmake.project.stage_table import STAGE_NAMES
from sifmake.stages.stage import Stage, all_stages, find_stage

FOLDER = Path(sifmake.stages.__path__[0])


def holds_a_stage(path: Path) -> bool:
    return any(line.startswith("STAGE = ") for line in path.read_text().splitlines())


def test_files_with_a_stage_are_the_named_ones() -> None:
    assert {path.stem for path in FOLDER.glob("*.py") if holds_a_stage(path)} == set(STAGE_NAMES)


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_a_stage_is_named_as_its_file(name: str) -> None:
    assert isinstance(find_stage(name), Stage)
    assert find_stage(name).name == name


def test_a_stage_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_stage("pull").doc = ""  # type: ignore[misc]


def test_every_format_is_a_stage_s() -> None:
    assert {stage.name: stage.format for stage in all_stages() if stage.format is not None} == build_format_versions()


def test_a_stage_reads_what_earlier_ones_make() -> None:
    made = {"config/locks/{image}.yaml"}
    for stage in all_stages():
        assert set(stage.inputs) <= made
        made |= set(stage.outputs)
