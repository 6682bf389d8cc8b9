"""The changes between two SIF files or two locks, in words and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sifmake.compare.contents import ImageContents
from sifmake.project.locks import BuildLock
from sifmake.squashfs.format import NONE_32
from sifmake.squashfs.reader import FILE
from sifmake.squashfs.same import FileComparison

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sifmake.compare.steps import StepChange
    from sifmake.limits import Limits
    from sifmake.project.locks import AnyLock, BuildInputs
    from sifmake.squashfs.reader import Node

_TOP_FOLDERS = 5
_NAMED = 20
"""Most files of one kind that are named; a program reads all of them."""
_FOLDER_DEPTH = 2
"""Path components of the folders by which changes are counted."""


@dataclass(frozen=True)
class Change:
    """One value that differs; ``old`` or ``new`` is None if there was or is none."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True, repr=False)
class Comparison:
    """How two images differ.

    Attributes:
        layers_added: Digests of added layers.
        layers_dropped: Digests of dropped layers.
        settings: Changes of the image config, with Env split into variables.
        labels: Changes of the image's labels.
        build: Changes of the build settings; for locks.
        files: Paths that were ``added``, ``removed`` and ``changed``.
        packages: Changes by kind and name.
        steps: Steps of definitions that gave something else; for locks of steps.
    """

    layers_added: list[str] = field(default_factory=list)
    layers_dropped: list[str] = field(default_factory=list)
    settings: list[Change] = field(default_factory=list)
    labels: list[Change] = field(default_factory=list)
    build: list[Change] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)
    packages: list[Change] = field(default_factory=list)
    steps: list[StepChange] = field(default_factory=list)

    def __repr__(self) -> str:
        counts = {name: len(value) for name, value in vars(self).items() if name != "files" and value}
        counts |= {f"files {kind}": len(paths) for kind, paths in self.files.items() if paths}
        return f"Comparison({', '.join(f'{name}: {count}' for name, count in counts.items()) or 'nothing changed'})"

    def __bool__(self) -> bool:
        return bool(
            self.layers_added
            or self.layers_dropped
            or self.settings
            or self.labels
            or self.build
            or any(self.files.values())
            or self.packages
            or self.steps
        )


def contents_of_lock(lock: AnyLock) -> ImageContents:
    """Return the contents that a lock describes."""
    build = {"from": lock.source.given, "platform": lock.platform, "image": lock.image, "manifest": lock.built_from}
    build |= {key: value for key, value in lock.build._asdict().items() if key != "labels"}
    if isinstance(lock, BuildLock):
        build |= _inputs_of(lock.inputs)
    layers = lock.document().get("layers", ())
    return ImageContents(layers=tuple(layer["digest"] for layer in layers), labels=lock.build.labels, build=build)


def _inputs_of(inputs: BuildInputs) -> dict[str, Any]:
    """Return the inputs of a build, each by a name of its own."""
    return {
        "definition": inputs.definition,
        "network": inputs.network,
        "clean": ", ".join(inputs.clean),
        **{f"argument {name}": value for name, value in inputs.arguments.items()},
        **{f"base {base.source}": base.manifest for base in inputs.bases},
        **{f"files {files.source}": files.digest for files in inputs.files},
        **{f"renewed {digest}": date for digest, date in inputs.renewed.items()},
    }


def compare_locks_of_steps(
    old: Path, new: Path, find_list: Callable[[str], bytes | None], limits: Limits
) -> Comparison:
    """Return how two locks of what steps gave differ.

    Args:
        old: The former file.
        new: The new one.
        find_list: Returns the list of files with a digest; None if it cannot be found.
        limits: Bounds on the files.

    Raises:
        LockError: One is missing or damaged.
    """
    from sifmake.compare.steps import compare_steps
    from sifmake.project.steps_lock import need_steps_lock

    before, after = need_steps_lock(old, limits), need_steps_lock(new, limits)
    return Comparison(steps=list(compare_steps(before, after, find_list)))


def compare(old: ImageContents, new: ImageContents) -> Comparison:
    """Return how two images differ.

    Files of the same size are compared byte by byte even if their times are equal, because anyone who makes an image
    can choose the times.

    Raises:
        SquashfsError: An image is damaged, or its files exceed the limit on bytes.
    """
    files = _files(old, new)
    return Comparison(
        layers_added=[layer for layer in new.layers if layer not in old.layers],
        layers_dropped=[layer for layer in old.layers if layer not in new.layers],
        settings=_changes(_flat(old.settings), _flat(new.settings)),
        labels=_changes(old.labels, new.labels),
        build=_changes(old.build, new.build),
        files=files,
        packages=_changes(old.packages, new.packages),
    )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with one entry per variable, port and volume."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "Env" and isinstance(value, list):
            found |= {f"Env {item.partition('=')[0]}": item.partition("=")[2] for item in map(str, value)}
        elif isinstance(value, dict):
            found |= {f"{key} {name}": inner or True for name, inner in value.items()}
        else:
            found[key] = value
    return found


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    names = sorted(old.keys() | new.keys())
    return [Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _files(old: ImageContents, new: ImageContents) -> dict[str, list[str]]:
    """Return the paths that were added, removed and changed; no more of both file systems is in memory at a time."""
    found: dict[str, list[str]] = {"added": [], "removed": [], "changed": []}
    differ = _Difference(old, new)
    for before, after in _paired(old.walk(), new.walk()):
        node = before or after
        if before is None or after is None:
            kind = "removed" if after is None else "added"
        elif differ(before, after):
            kind = "changed"
        else:
            continue
        if node is not None:
            found[kind].append(node.path.decode("utf-8", "backslashreplace"))
    return found


def _paired(old: Iterator[Node], new: Iterator[Node]) -> Iterator[tuple[Node | None, Node | None]]:
    """Yield the nodes of two file systems, in ascending order of paths, with None for one that only the other has."""
    before, after = next(old, None), next(new, None)
    while before is not None or after is not None:
        if after is None or (before is not None and before.path < after.path):
            yield before, None
            before = next(old, None)
        elif before is None or after.path < before.path:
            yield None, after
            after = next(new, None)
        else:
            yield before, after
            before, after = next(old, None), next(new, None)


class _Difference:
    """Tells whether the same path differs between two images."""

    def __init__(self, old: ImageContents, new: ImageContents) -> None:
        self._old, self._new = old.reader, new.reader
        self._files = FileComparison(old.reader, new.reader) if old.reader and new.reader else None

    def __call__(self, before: Node, after: Node) -> bool:
        if self._old is None or self._new is None or self._files is None:
            return False
        if _attributes(before) != _attributes(after):
            return True
        has_xattrs = before.xattrs != NONE_32 or after.xattrs != NONE_32
        if has_xattrs and self._old.read_xattrs(before) != self._new.read_xattrs(after):
            return True
        return before.kind == FILE and not self._files.same(before, after)


def _attributes(node: Node) -> tuple[Any, ...]:
    return node.kind, node.mode, node.uid, node.gid, node.size, node.target, node.device


def describe(found: Comparison) -> Iterator[str]:
    """Yield lines that describe the changes."""
    for layer in found.layers_dropped:
        yield f"layer dropped: {layer}"
    for layer in found.layers_added:
        yield f"layer added: {layer}"
    for title, changes in (("", found.build), ("", found.settings), ("label ", found.labels)):
        yield from (f"{title}{_in_words(change)}" for change in changes)
    yield from (f"package {_in_words(change)}" for change in found.packages)
    for kind, paths in found.files.items():
        if paths:
            yield f"files {kind}: {len(paths)} ({_top(paths)})"
            yield from _named([f"/{path}" for path in paths])
    for step in found.steps:
        yield f"step {step.step}: {step.what}"
        yield from _named(step.files)


def _named(lines: Sequence[str]) -> Iterator[str]:
    """Yield some of the lines, indented, and the number of the others."""
    yield from (f"    {line}" for line in lines[:_NAMED])
    if len(lines) > _NAMED:
        yield f"    and {len(lines) - _NAMED} more (all of them with --json)"


def _in_words(change: Change) -> str:
    if change.old is None:
        return f"{change.name}: added {_shown(change.new)}"
    if change.new is None:
        return f"{change.name}: removed, was {_shown(change.old)}"
    return f"{change.name}: {_shown(change.old)} -> {_shown(change.new)}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def _top(paths: Iterable[str]) -> str:
    folders = Counter("/" + "/".join(path.split("/")[:-1][:_FOLDER_DEPTH]) for path in paths)
    shown = [f"{folder} {count}" for folder, count in folders.most_common(_TOP_FOLDERS)]
    return ", ".join(shown) + (", ..." if len(folders) > _TOP_FOLDERS else "")
