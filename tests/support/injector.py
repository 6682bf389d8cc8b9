"""Failing one call of the operating system at one place of the source, without preloading anything.

The functions of ``os`` and ``open`` are replaced while a block runs. A *site* is a function of sifmake and what it does
there: ``("sifmake.files", "atomic_write", "fsync")``; what it does by way of the standard library counts as its own.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import io
import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sifmake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = Path(sifmake.__file__).parent
CALLS = {
    "fsync": "fsync",
    "fdatasync": "fdatasync",
    "write": "write",
    "pwrite": "pwrite",
    "copy_file_range": "copy_file_range",
    "ftruncate": "ftruncate",
    "rename": "rename",
    "replace": "rename",
    "open": "open",
    "mkdir": "mkdir",
    "link": "link",
    "unlink": "unlink",
    "rmdir": "rmdir",
}
"""Functions of ``os`` and what they count as."""
PATHS = frozenset({"rename", "open", "mkdir", "link", "unlink", "rmdir"})
"""Those whose errors have the path that they were given."""
METHODS = {
    **{name: name for name in ("mkdir", "rename", "unlink", "rmdir", "write", "open")},
    "touch": "open",
    "hardlink_to": "link",
    "read_bytes": "open",
    "copyfileobj": "write",
    "TemporaryFile": "open",
    "TemporaryDirectory": "mkdir",
    "mkdtemp": "mkdir",
}
"""Methods and functions of the standard library that come to one of these."""


class Site(NamedTuple):
    """Where something is done."""

    module: str
    function: str
    call: str


class Fault(NamedTuple):
    """What goes wrong: the ``nth`` call at a site, counted from 0; -1 fails every one."""

    site: Site
    code: int
    nth: int = 0


class Injector:
    """Counts calls by their site and fails some.

    Attributes:
        reached: How often each site was reached.
        passed: Sites of the functions that called those, and of their callers, up to the test.
        failed: The faults that came true.
    """

    def __init__(self, *faults: Fault) -> None:
        self.reached: dict[Site, int] = {}
        self.passed: set[Site] = set()
        self.failed: set[Fault] = set()
        self._faults = faults
        self._lock = threading.Lock()

    def meet(self, call: str, path: object = None) -> None:
        """Count a call; raise what is planned for it, with the path where Python tells the one that it was given."""
        sites = list(_callers(call))
        if not sites:
            return
        site = sites[0]
        with self._lock:
            self.passed.update(sites)
            number = self.reached.get(site, 0)
            self.reached[site] = number + 1
        for fault in self._faults:
            if fault.site == site and fault.nth in (number, -1):
                self.failed.add(fault)
                raise OSError(fault.code, os.strerror(fault.code), *([] if path is None else [path]))

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Replace the functions while the block runs."""
        before = {name: getattr(os, name) for name in CALLS}
        opened, fdopen = io.open, os.fdopen
        for name, call in CALLS.items():
            setattr(os, name, self._wrapped(before[name], call))
        io.open = builtins.open = self._opening(opened)  # type: ignore[assignment]
        os.fdopen = self._opening(fdopen, counted=False)  # type: ignore[assignment]
        try:
            yield
        finally:
            io.open = builtins.open = opened  # type: ignore[assignment]
            os.fdopen = fdopen
            for name, function in before.items():
                setattr(os, name, function)

    def _wrapped(self, real: Callable[..., Any], call: str) -> Callable[..., Any]:
        def function(*args: Any, **options: Any) -> Any:
            self.meet(call, args[0] if call in PATHS and not isinstance(args[0], int) else None)
            return real(*args, **options)

        return function

    def _opening(self, real: Callable[..., Any], *, counted: bool = True) -> Callable[..., Any]:
        def function(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if counted and not isinstance(file, int):
                self.meet("open", file)
            if "b" not in mode or not set(mode) & set("wax+"):
                return real(file, mode, *args, **options)
            raw = _Raw(file, mode.replace("b", ""), opener=options.get("opener"))
            raw.meet = self.meet
            # With a buffer of a byte, what is written reaches the system in the function that writes it.
            return io.BufferedRandom(raw, 1) if "+" in mode else io.BufferedWriter(raw, 1)

        return function


class _Raw(io.FileIO):
    """A file whose writes are met by the injector; reading, seeking and closing are left alone."""

    meet: Callable[[str], None]

    def write(self, data: Any) -> int:
        self.meet("write")
        return super().write(data)


def _callers(call: str) -> Iterator[Site]:
    """Yield the functions of sifmake that are running, the innermost first."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("sifmake."):
            yield Site(name, _plain(frame.f_code.co_qualname), call)
        frame = frame.f_back  # type: ignore[assignment]


def _plain(qualname: str) -> str:
    """Return the name of a function without the lambdas and functions inside of it."""
    return qualname.partition(".<locals>")[0]


def sites_in_source(*names: str) -> tuple[set[Site], set[Site]]:
    """Return all sites in modules and packages of sifmake, found by reading them.

    Returns:
        Those where a function of ``os`` is called, and those where a method is that may come to one.
    """
    found: tuple[set[Site], set[Site]] = set(), set()
    for name in names:
        module = importlib.import_module(name)
        path = Path(str(module.__file__))
        paths = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
        for one in paths:
            dotted = ".".join(("sifmake", *one.relative_to(SOURCE).with_suffix("").parts))
            _Finder(dotted.removesuffix(".__init__"), found).visit(ast.parse(one.read_text()))
    return found


class _Finder(ast.NodeVisitor):
    def __init__(self, module: str, found: tuple[set[Site], set[Site]]) -> None:
        self._module = module
        self._found = found
        self._where: list[str] = []
        self._inside = False

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._enter(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._enter(node)

    def _enter(self, node: ast.ClassDef | ast.FunctionDef) -> None:
        if self._inside:
            self.generic_visit(node)
            return
        self._where.append(node.name)
        self._inside = isinstance(node, ast.FunctionDef)
        self.generic_visit(node)
        self._inside = False
        self._where.pop()

    def visit_Call(self, node: ast.Call) -> None:
        call, direct = _call_of(node)
        if call and self._inside:
            self._found[not direct].add(Site(self._module, ".".join(self._where), call))
        self.generic_visit(node)


def _call_of(node: ast.Call) -> tuple[str, bool]:
    """Return what a call comes to, and whether it is one of ``os``."""
    function = node.func
    if isinstance(function, ast.Name):
        return METHODS.get(function.id, "") if function.id[:4] in ("Temp", "mkdt") else "", False
    if not isinstance(function, ast.Attribute):
        return "", False
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    if owner == "os":
        return CALLS.get(function.attr, ""), True
    if function.attr == "replace":
        return "rename" if len(node.args) == 1 and not node.keywords and owner != "dataclasses" else "", False
    is_other = function.attr == "open" and (owner[:1].isupper() or owner == "tarfile")
    return "" if is_other else METHODS.get(function.attr, ""), False
