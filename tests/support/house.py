"""Which names of a module other files use: what its own file alone uses is private and begins with ``_``."""

from __future__ import annotations

import ast
import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.project import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = REPOSITORY / "src"
CALLED_BY_NAME = frozenset({"configure", "run"})
"""What ``sifmake.cli.main`` calls in the module of each command."""


@dataclass
class Module:
    """One file of the package.

    Attributes:
        name: Dotted.
        path: The file.
        tree: Its syntax tree.
        names: What it defines at its top.
    """

    name: str
    path: Path
    tree: ast.Module
    names: set[str] = field(default_factory=set)


def python_files() -> list[Path]:
    """Return every tracked or new file of the repository that holds Python, Snakemake's included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout.split()
    names = [name for name in listed if name.endswith((".py", ".smk", "Snakefile"))]
    return [REPOSITORY / name for name in names if (REPOSITORY / name).is_file()]


def modules() -> dict[str, Module]:
    """Return the package's modules by dotted name."""
    found = {}
    for path in sorted((SOURCE / "sifmake").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        module = Module(name, path, ast.parse(path.read_text()))
        module.names = set(_defined(module.tree))
        found[name] = module
    return found


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def used_elsewhere(known: dict[str, Module]) -> dict[str, set[str]]:
    """Return for each module the names that other files import, look up in it, or write in a string."""
    used: dict[str, set[str]] = {name: set() for name in known}
    own = {module.path: name for name, module in known.items()}
    for path in python_files():
        text = path.read_text()
        for module, name in _mentions(path, text, known):
            if own.get(path) != module:
                used[module].add(name)
    return used


def _mentions(path: Path, text: str, known: dict[str, Module]) -> Iterator[tuple[str, str]]:
    if path.suffix != ".py":
        yield from _imports_in_text(text, known)
        return
    nodes = list(ast.walk(ast.parse(text)))
    aliases: dict[str, str] = {}
    for node in nodes:
        yield from _imported(node, known, aliases)
    for node in nodes:
        if isinstance(node, ast.Attribute):
            dotted = _dotted(node.value)
            module = aliases.get(dotted, dotted)
            if module in known:
                yield module, node.attr
            elif dotted == "module":  # what import_module returned
                yield from _in_string(path, node.attr, known)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _in_string(path, node.value, known)
        elif isinstance(node, ast.Call):
            yield from _patched(node, known, aliases)


def _dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` for such an expression; empty for any other."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _imported(node: ast.AST, known: dict[str, Module], aliases: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what an import statement names, and note under which names modules are known from then on."""
    if isinstance(node, ast.ImportFrom) and node.module in known:
        for item in node.names:
            yield str(node.module), item.name
            if f"{node.module}.{item.name}" in known:
                aliases[item.asname or item.name] = f"{node.module}.{item.name}"
    elif isinstance(node, ast.Import):
        aliases |= {item.asname: item.name for item in node.names if item.asname and item.name in known}


def _patched(node: ast.Call, known: dict[str, Module], aliases: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what ``monkeypatch.setattr(module, "name", ...)`` replaces."""
    if len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        module = aliases.get(_dotted(node.args[0]), "")
        if module in known:
            yield module, str(node.args[1].value)


def _in_string(path: Path, value: str, known: dict[str, Module]) -> Iterator[tuple[str, str]]:
    """Yield names in code that tests hand to other processes, and words that tables of functions are keyed by."""
    yield from _imports_in_text(value, known)
    for dotted in re.findall(r"sifmake(?:\.\w+)+", value):
        module, _, name = dotted.rpartition(".")
        if module in known:
            yield module, name
    if path.is_relative_to(SOURCE) and value.isidentifier() and not value.startswith("_"):
        yield from ((name, value) for name in known if _same_room(path, name) and value in known[name].names)


def _imports_in_text(text: str, known: dict[str, Module]) -> Iterator[tuple[str, str]]:
    for module, names in re.findall(r"from (sifmake[\w.]*) import \(?([\w, ]+)", text):
        for name in re.findall(r"\w+", names):
            if module in known:
                yield module, name
            if f"{module}.{name}" in known:
                used = re.findall(rf"\b{name}\.(\w+)", text)
                yield from ((f"{module}.{name}", attribute) for attribute in used)


def _same_room(path: Path, module: str) -> bool:
    return path.relative_to(SOURCE).parts[:-1] == tuple(module.split(".")[:-1])


def unmarked(known: dict[str, Module]) -> list[tuple[str, str]]:
    """Return names that look public though only their own file uses them.

    A type that the signature of a public function or an attribute of a public class names is public too. A type
    variable keeps its letter.
    """
    used = used_elsewhere(known)
    found = []
    for name, module in known.items():
        is_command = name.startswith("sifmake.cli.") and name.endswith("_command")
        spared = used[name] | (CALLED_BY_NAME if is_command else frozenset()) | {"TYPE_CHECKING"}
        spared |= _in_signatures(module, spared)
        looks_public = [own for own in sorted(module.names) if not own.startswith("_") and len(own) > 1]
        found += [(name, own) for own in looks_public if own not in spared]
    return found


def _in_signatures(module: Module, public: set[str]) -> set[str]:
    """Return what the signatures of a module's public names mention, and so on."""
    found: set[str] = set()
    new = set(public)
    while new:
        mentioned = {name for node in module.tree.body for name in _annotations(node, new)}
        new = (mentioned & module.names) - found - public
        found |= new
    return found


def _annotations(node: ast.stmt, public: set[str]) -> Iterator[str]:
    if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name not in public:
        return
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef) and (part is node or not part.name.startswith("_")):
            arguments = [*part.args.args, *part.args.kwonlyargs, *part.args.posonlyargs]
            for given in (part.returns, *(argument.annotation for argument in arguments)):
                yield from _names(given)
        elif isinstance(part, ast.AnnAssign) and part in getattr(node, "body", ()):
            yield from _names(part.annotation)
    if isinstance(node, ast.ClassDef):
        for base in node.bases:
            yield from _names(base)


def _names(expression: ast.expr | None) -> Iterator[str]:
    if expression is not None:
        yield from (part.id for part in ast.walk(expression) if isinstance(part, ast.Name))


def reached_into(known: dict[str, Module]) -> list[tuple[str, str, str]]:
    """Return private names that another file of the package uses."""
    own = {module.path: name for name, module in known.items()}
    found = []
    for path, name in own.items():
        for module, used in _mentions(path, path.read_text(), known):
            if module != name and used.startswith("_") and not used.startswith("__") and used in known[module].names:
                found.append((name, module, used))
    return found
