"""Tasks of doit that take little memory: a project of 3,000 images has 30,000 of them."""

from __future__ import annotations

from functools import update_wrapper
from typing import TYPE_CHECKING, Any

from doit.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class _NoNames(frozenset[str]):
    """An empty set for all tasks, of which doit makes a copy to change."""

    __slots__ = ()

    def copy(self) -> set[str]:  # type: ignore[override]
        return set()


_NOTHING: dict[str, Iterable[str]] = {
    **dict.fromkeys(("file_dep", "calc_dep"), _NoNames()),
    **dict.fromkeys(("wild_dep", "teardown", "value_savers"), ()),
}
"""The attributes of a task that are empty, and what they share; doit adds ``setup_tasks`` to a list."""


class _SmallTask(Task):  # type: ignore[misc] # doit has no types
    """A task whose attributes are slots, and whose empty lists and sets are those of all tasks.

    doit's own tasks have so many attributes that Python cannot share the keys of their dictionaries, which then are
    half of a task.
    """

    __slots__ = tuple(vars(Task("sample", None)))

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for name, nothing in _NOTHING.items():
            setattr(self, name, getattr(self, name) or nothing)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override] # what doit sends to other processes
        return {name: getattr(self, name) for name in self.__slots__}

    def update_from_pickle(self, received: dict[str, Any]) -> None:
        """Take over what another process found out."""
        for name, value in received.items():
            setattr(self, name, value)


class _Creator:
    """A function of a ``dodo.py`` that yields tasks, of which doit takes small ones."""

    def __init__(self, declare: Callable[[], Iterator[dict[str, Any]]]) -> None:
        update_wrapper(self, declare)
        self._declare = declare

    def __call__(self) -> Iterator[dict[str, Any]]:
        return self._declare()

    def create_doit_tasks(self) -> Iterator[Task]:
        """Yield the tasks; doit looks for a method of this name."""
        return small_tasks(self._declare())


def with_small_tasks(declare: Callable[[], Iterator[dict[str, Any]]]) -> _Creator:
    """Return a creator of tasks for a ``dodo.py`` from a function that yields them as dictionaries."""
    return _Creator(declare)


def small_tasks(tasks: Iterable[dict[str, Any]]) -> Iterator[Task]:
    """Yield tasks of doit for tasks as dictionaries, in the form that a ``dodo.py`` yields."""
    groups: dict[str, Task] = {}
    for given in tasks:
        basename, name = given.pop("basename"), given.pop("name")
        if basename not in groups:
            settings = given if name is None else {}
            groups[basename] = Task(basename, None, has_subtask=True, **settings)
            yield groups[basename]
        if name is not None:
            task = _SmallTask(name=f"{basename}:{name}", subtask_of=basename, **given)
            groups[basename].task_dep.append(task.name)
            yield task
