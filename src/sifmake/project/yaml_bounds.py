"""Checks on YAML text and nodes, made before values are built from them.

A few lines of YAML can describe an endless or huge document (aliases), objects (tags), and values that nobody intended
(``on`` is true). The checks work on parser events and nodes, whose cost is proportional to the length of the text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sifmake.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.limits import Limits

_YAML_TAG = "tag:yaml.org,2002:"
_KINDS = {"int": "a number", "float": "a number", "bool": "true or false", "null": "nothing", "timestamp": "a date"}
"""The kinds of values that YAML makes from scalars without quotes, by tag."""
_LONGEST_NUMBER = 40
"""Most characters of a number; Python refuses to print integers of more than 4,300 digits, far more than needed."""

_PLAIN_TAGS = frozenset({"!", *(_YAML_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))})
_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7})(?: .*)?$", re.MULTILINE)
_DIRECTIVE = re.compile(r"^%TAG\b", re.MULTILINE)


class Problem(Exception):  # noqa: N818 - never leaves the package: it becomes a ConfigError with the file's name
    """A problem in a text, before the file's name is added.

    Attributes:
        line: Counted from 1.
        what: A clause.
        hint: What to write; may be empty.
        limit: Whether a limit was reached.
    """

    def __init__(self, line: int, what: str, hint: str = "", *, limit: bool = False) -> None:
        super().__init__(line, what)
        self.line, self.what, self.hint, self.limit = line, what, hint, limit


def check_text(text: str) -> None:
    """Refuse text for which a YAML parser would give an unhelpful message, or would need minutes.

    Raises:
        Problem: There are conflict markers or tag directives.
    """
    if found := _CONFLICT.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise Problem(line, "the file has merge conflict markers", "keep one side and delete the markers")
    if found := _DIRECTIVE.search(text):
        raise Problem(text.count("\n", 0, found.start()) + 1, "%TAG is not supported", "delete the line")


def check_events(events: Iterable[Any], limits: Limits) -> None:
    """Refuse a document that is too large, too deep or endless with its aliases expanded, and tags of objects.

    Args:
        events: The events of ``yaml.parse``.
        limits: Provides ``yaml_nodes``, ``yaml_depth`` and ``yaml_bytes``.

    Raises:
        Problem: The document is refused; has the line.
    """
    sizes: dict[str, tuple[int, int]] = {}
    unfinished: list[tuple[str | None, int, int]] = []
    nodes = characters = 0
    for event in events:
        kind = type(event).__name__
        line = event.start_mark.line + 1
        if kind == "AliasEvent":
            if event.anchor in (anchor for anchor, _, _ in unfinished):
                raise Problem(
                    line, f"the alias *{event.anchor} is inside the value that it refers to", "write the value out"
                )
            size = sizes.get(event.anchor, (0, 0))
            nodes, characters = nodes + size[0], characters + size[1]
        elif kind == "ScalarEvent":
            _check_tag(event, line)
            nodes, characters = nodes + 1, characters + len(event.value)
            if event.anchor:
                sizes[event.anchor] = 1, len(event.value)
        elif kind in {"MappingStartEvent", "SequenceStartEvent"}:
            _check_tag(event, line)
            unfinished.append((event.anchor, nodes, characters))
            nodes += 1
        elif kind in {"MappingEndEvent", "SequenceEndEvent"}:
            anchor, nodes_before, characters_before = unfinished.pop()
            if anchor:
                sizes[anchor] = nodes - nodes_before, characters - characters_before
        _check_size(line, nodes, characters, len(unfinished), limits)


def _check_size(line: int, nodes: int, characters: int, depth: int, limits: Limits) -> None:
    if depth > limits.yaml_depth:
        raise too_deep(line, limits)
    if nodes > limits.yaml_nodes:
        what = f"with all aliases expanded, the file has more than {limits.yaml_nodes} nodes (limit yaml-nodes)"
        raise Problem(line, what, limit=True)
    if characters > limits.yaml_bytes:
        what = f"with all aliases expanded, the file has more than {limits.yaml_bytes} characters (limit yaml-bytes)"
        raise Problem(line, what, limit=True)


def too_deep(line: int, limits: Limits) -> Problem:
    """Return the problem for lists and mappings that are nested too deeply."""
    return Problem(
        line, f"lists and mappings are nested more than {limits.yaml_depth} levels deep (limit yaml-depth)", limit=True
    )


def _check_tag(event: Any, line: int) -> None:
    if event.tag is not None and event.tag not in _PLAIN_TAGS:
        shown = event.tag.replace(_YAML_TAG, "!!")[:60]
        raise Problem(line, f"the tag {shown} is not supported", "remove the tag, and write text in quotes")


def check_nodes(root: Any, loader: Any) -> None:
    """Refuse keys that are not text, duplicate keys, and scalars that YAML reads as a kind that no setting has.

    Raises:
        Problem: Something is refused; has the line and what to write.
    """
    for node, is_key in _walk(root):
        if node.id == "scalar":
            _check_scalar(node, loader, is_key=is_key)
        elif is_key:
            raise Problem(node.start_mark.line + 1, "a key is a list or a mapping", "write a name before the colon")
        elif node.id == "mapping":
            _check_twice(node)


def _walk(root: Any) -> Iterator[tuple[Any, bool]]:
    """Yield each node, in the order of the file, and whether it is a key."""
    waiting = [(root, False)]
    while waiting:
        node, is_key = waiting.pop()
        yield node, is_key
        if node.id == "sequence":
            waiting += [(item, False) for item in reversed(node.value)]
        elif node.id == "mapping" and not is_key:
            for key, value in reversed(node.value):
                waiting += [(value, False), (key, True)]


def _check_twice(node: Any) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key.value, str) and key.value in seen:
            raise Problem(key.start_mark.line + 1, f"the key {key.value[:80]!r} occurs twice", "delete one of the two")
        if isinstance(key.value, str):
            seen.add(key.value)


def _check_scalar(node: Any, loader: Any, *, is_key: bool) -> None:
    name = node.tag.removeprefix(_YAML_TAG)
    line = node.start_mark.line + 1
    if "\0" in node.value:
        raise Problem(line, "the text contains a NUL character", r"delete the \0")
    if name == "str" or (name == "merge" and is_key):
        return
    shown = node.value[:80]
    if is_key or name not in _KINDS or name == "timestamp":
        kind = _KINDS.get(name, "a special sign")
        what = f"the {'key' if is_key else 'value'} {shown} is {kind} in YAML"
        raise Problem(line, what, f"write {in_quotes(shown)}")
    if len(node.value) > _LONGEST_NUMBER:
        what = f"{shown}... is {_KINDS[name]} of {len(node.value)} characters in YAML"
        raise Problem(line, what, f"write it in quotes, or with at most {_LONGEST_NUMBER} characters")
    if not _can_build(node, loader):
        raise Problem(line, f"{shown!r} is not {_KINDS[name]}", "write text in quotes")


def _can_build(node: Any, loader: Any) -> bool:
    try:
        loader.construct_object(node)
    except (ValueError, LookupError, ArithmeticError):
        return False
    return True


def in_quotes(text: str) -> str:
    """Return how to write a scalar so that YAML reads it as text."""
    return f'"{text}"' if text and '"' not in text and "\\" not in text else "it in quotes"


def config_error(problem: Problem, path: Any, settable: str) -> ConfigError:
    """Return the error for a problem in a file.

    Args:
        problem: What is wrong.
        path: The file.
        settable: The hint for a limit that was reached.
    """
    hint = settable if problem.limit else problem.hint
    return ConfigError(problem.what, where=f"{path}:{problem.line}", hint=hint)
