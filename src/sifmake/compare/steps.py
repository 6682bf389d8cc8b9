"""The changes between two locks of what steps gave, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.steps.file_list import compare_lists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sifmake.project.steps_lock import LockedStep, StepsLock


@dataclass(frozen=True)
class StepChange:
    """A step that differs.

    Attributes:
        step: First line of its script.
        what: ``added``, ``removed``, or what differs.
        files: ``PATH: WHAT`` for each file that differs, if the store has both lists of files.
    """

    step: str
    what: str
    files: list[str] = field(default_factory=list)


def compare_steps(old: StepsLock, new: StepsLock, find_list: Callable[[str], bytes | None]) -> Iterator[StepChange]:
    """Yield how the steps of two locks differ, in the order of the new one.

    Args:
        old: The former lock.
        new: The new one.
        find_list: Returns the list of files with a digest; None if the store lacks it.
    """
    pairs = dict(_paired(old, new))
    for step in new.steps:
        former = pairs.get(step.key)
        if former is None:
            yield StepChange(step.title, "added")
        elif what := ", ".join(_differences(former, step)):
            yield StepChange(step.title, what, list(_files(former, step, find_list)))
    gone = {step.key for step in pairs.values()}
    yield from (StepChange(step.title, "removed") for step in old.steps if step.key not in gone)


def _paired(old: StepsLock, new: StepsLock) -> Iterator[tuple[str, LockedStep]]:
    """Yield keys of new steps with the former step: the one with equal inputs, else the next with the same title."""
    left = [step for step in old.steps if new.find(step.key) is None]
    for step in new.steps:
        former = old.find(step.key) or next((one for one in left if one.title == step.title), None)
        if former is not None:
            yield step.key, former
            if former in left:
                left.remove(former)


def _differences(old: LockedStep, new: LockedStep) -> Iterator[str]:
    names = {"key": "inputs", "layer": "layer", "snapshot": "variables of the shell", "labels": "labels"}
    for name, shown in names.items():
        if getattr(old, name) != getattr(new, name):
            yield f"other {shown}"


def _files(old: LockedStep, new: LockedStep, find_list: Callable[[str], bytes | None]) -> Iterator[str]:
    if old.layer == new.layer or not old.files or not new.files:
        return
    before, after = find_list(old.files), find_list(new.files)
    if before is not None and after is not None:
        yield from (f"{path}: {what}" for path, what in compare_lists(before, after))
