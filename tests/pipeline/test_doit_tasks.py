from __future__ import annotations

import pytest

from sifmake.pipeline.doit_tasks import is_forced, selected_images
from sifmake.pipeline.project import Modes
from sifmake.pipeline.records import differences

NAMES = ["a", "b", "lol.cow", "lol"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], NAMES),
        (["pull_image"], NAMES),
        (["run", "-n", "4", "pull_image:a"], ["a"]),
        (["pull_image:lol*", "locked=1"], ["lol.cow", "lol"]),
        (["lock:b", "pull:a"], ["a", "b"]),
    ],
)
def test_only_chosen_images_are_asked_for_together(arguments: list[str], expected: list[str]) -> None:
    assert selected_images(arguments, NAMES) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-a"], True),
        (["-ca", "pull_image"], True),
        (["--always-execute"], True),
        (["-n4", "pull_image:a"], False),
        (["-Pthread"], False),
        (["-r", "json", "pull_image"], False),
        ([], False),
    ],
)
def test_force_is_seen_in_doits_options(arguments: list[str], *, expected: bool) -> None:
    assert is_forced(arguments) is expected


@pytest.mark.parametrize(
    ("environ", "arguments", "expected"),
    [
        ({}, {}, Modes()),
        ({"CI": "true"}, {}, Modes(locked=True)),
        ({"CI": "true", "SIFMAKE_LOCKED": "0"}, {}, Modes()),
        ({"CI": "true"}, {"locked": "0"}, Modes()),
        ({}, {"locked": "1", "offline": "yes"}, Modes(locked=True, offline=True)),
        ({"SIFMAKE_OFFLINE": "1"}, {"offline": "no"}, Modes()),
    ],
)
def test_modes_come_from_arguments_then_variables(environ: dict, arguments: dict, expected: Modes) -> None:
    assert Modes.find(environ, **arguments) == expected


def test_differences_are_told_in_words() -> None:
    old = {"layers": ["a", "b"], "compression": "gzip", "formats": {"pull": 1}, "key": ""}
    new = {"layers": ["a", "c", "d"], "compression": "zstd", "formats": {"pull": 2}, "key": "x"}
    assert differences(old, new) == [
        "compression: gzip -> zstd",
        "formats.pull: 1 -> 2",
        "key: none -> x",
        "layers: 2 new, 1 gone",
    ]
