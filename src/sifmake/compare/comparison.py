"""The changes between two SIF files or two locks, in words and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sifmake.compare.contents import ImageContents
from sifmake.project.locks import BuildLock
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
    build |= {key: value for key, value in vars(lock.build).items() if key != "labels"}
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
    files = {kind: [path.decode("utf-8", "backslashreplace") for path in paths] for kind, paths in _files(old, new)}
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


def _files(old: ImageContents, new: ImageContents) -> Iterator[tuple[str, list[bytes]]]:
    yield "added", sorted(new.nodes.keys() - old.nodes.keys())
    yield "removed", sorted(old.nodes.keys() - new.nodes.keys())
    yield "changed", list(_changed(old, new))


def _changed(old: ImageContents, new: ImageContents) -> Iterator[bytes]:
    if old.reader is None or new.reader is None:
        return
    files = FileComparison(old.reader, new.reader)
    for path in sorted(old.nodes.keys() & new.nodes.keys()):
        before, after = old.nodes[path], new.nodes[path]
        if (
            _attributes(before) != _attributes(after)
            or old.reader.read_xattrs(before) != new.reader.read_xattrs(after)
            or (before.kind == FILE and not files.same(before, after))
        ):
            yield path


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
