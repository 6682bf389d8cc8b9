from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from sifmake.drivers.doit_tasks import DoitTasks, is_forced, selected_images
from sifmake.errors import StoreError
from sifmake.project.project import Modes, Project
from sifmake.project.records import differences
from sifmake.stages.runner import Runner

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (StoreError("is full", where="/s", hint="empty it"), "/s: is full; empty it"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/p/a.sif"),
            "/p/a.sif: No space left on device; free some space there, or name another folder (SIFMAKE_CACHE for",
        ),
        (OSError(errno.EACCES, "Permission denied", "/p/a\nb"), "/p/a\\nb: Permission denied; check the permissions"),
    ],
)
def test_a_stage_that_fails_says_where_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(Runner, "run", fail)
    failure = DoitTasks(Project(tmp_path), []).run_stage("pull", "app")
    assert failure is not None
    assert failure.message.startswith(text)
