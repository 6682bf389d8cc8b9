"""Small tasks are for doit what its own tasks are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from doit.loader import generate_tasks

from sifmake.drivers.small_tasks import small_tasks

if TYPE_CHECKING:
    from doit.task import Task


def declared() -> list[dict[str, Any]]:
    common = {"actions": [(print, ["x"])], "targets": ["x"], "clean": True, "verbosity": 2, "io": {"capture": False}}
    return [
        {"basename": "pull", "name": None, "doc": "pull them"},
        {"basename": "pull", "name": "a", "uptodate": [(bool, [1])], "task_dep": ["_lock:a"], **common},
        {"basename": "pull", "name": "b", "setup": ["pull:a"], "doc": "one", "actions": None},
        {"basename": "_lock", "name": "a", "actions": [(print, ["x"])], "task_dep": []},
    ]


def facts(task: Task) -> dict[str, Any]:
    """Return what a task has, with all empty values alike, and without what has no equality."""
    return {name: value or None for name, value in task.__dict__.items() if name != "io"} | {"io": task.io.capture}


def test_they_have_what_doits_own_tasks_have() -> None:
    own = {task.name: task for task in generate_tasks("images", (one for one in declared()))}
    small = {task.name: task for task in small_tasks(declared())}
    assert small.keys() == own.keys()
    for name, task in small.items():
        assert facts(task) == facts(own[name]), name


def test_they_have_no_dictionaries_and_share_what_is_empty() -> None:
    first, second = (task for task in small_tasks(declared()) if task.name in ("pull:a", "pull:b"))
    assert object.__getattribute__(first, "__slots__")
    assert first.file_dep is second.file_dep
    copy = first.calc_dep.copy()
    copy.add("x")
    assert not second.calc_dep


def test_other_processes_get_them_and_send_back_what_they_found_out() -> None:
    first, second = (task for task in small_tasks(declared()) if task.name in ("pull:a", "pull:b"))
    first.values = {"found": 1}
    second.update_from_pickle(first.pickle_safe_dict())
    assert (second.name, second.values) == ("pull:a", {"found": 1})
