"""YAML files whose errors name file, line and key."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.errors import ConfigError
from sifmake.files import read_regular
from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.project.yaml_bounds import (
    Problem,
    check_events,
    check_nodes,
    check_text,
    config_error,
    in_quotes,
    too_deep,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jsonschema.exceptions import ValidationError
    from yaml import YAMLError

SCHEMAS = Path(__file__).parent / "schemas"
_LONGEST_MESSAGE = 300
"""Most characters of a message or key to show."""


class YamlFile:
    """A parsed YAML file that knows the line of each value.

    Attributes:
        path: The file.
        value: Its content as plain values: all keys are text, and numbers have a bounded length.
    """

    def __init__(self, path: Path, text: str, limits: Limits | None = None) -> None:
        """Parse the text.

        Args:
            path: The file's name for error messages.
            text: The content.
            limits: From the configuration; None for the defaults, with which the configuration itself is read.

        Raises:
            ConfigError: It is not YAML, exceeds a limit, or has keys or values of a kind that no setting has.
        """
        import yaml

        self.path = path
        self._keys: dict[int, dict[Any, tuple[int, Any]]] = {}
        bounds = limits or DEFAULT_LIMITS
        kind = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            check_text(text)
            check_events(yaml.parse(text, Loader=kind), bounds)
            self._node, self.value = _build(kind(text))
        except yaml.YAMLError as error:
            raise config_error(_not_yaml(error, text, bounds), path, _settable(limits)) from error
        except Problem as problem:
            raise config_error(problem, path, _settable(limits)) from None

    @classmethod
    def read(cls, path: Path, limits: Limits | None = None, mend: Callable[[str], str] = str) -> YamlFile:
        """Read and parse a file.

        Args:
            path: The file.
            limits: As for the constructor.
            mend: Makes YAML of the text where former versions wrote something else.

        Raises:
            ConfigError: It cannot be read or parsed.
        """
        most = (limits or DEFAULT_LIMITS).yaml_bytes
        try:
            data = read_regular(path, most + 1)
        except OSError as error:
            raise ConfigError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
        if len(data) > most:
            what = f"the file has more than {most} bytes (limit yaml-bytes)"
            raise ConfigError(what, where=str(path), hint=_settable(limits))
        return cls(path, mend(_decode(path, data)), limits)

    def place(self, keys: Iterable[str | int]) -> str:
        """Return ``FILE:LINE: key.key`` of the value at a path of keys, or of its last part that exists."""
        keys = list(keys)
        where = f"{self.path}:{self._find(keys)[0]}"
        return f"{where}: {_short('.'.join(map(str, keys)))}" if keys else where

    def _find(self, keys: Iterable[str | int]) -> tuple[int, Any]:
        """Return line and node of the value at a path of keys, or of its last part that exists."""
        line, node = 1, self._node
        for key in keys:
            line, node = self._step(node, key) or (line, node)
        return line, node

    def _step(self, node: Any, key: str | int) -> tuple[int, Any] | None:
        """Return line and node of a mapping's key or a sequence's item."""
        if node is None or isinstance(node.value, str):
            return None
        if node.id == "mapping":
            if id(node) not in self._keys:  # a file has one place for each of its images
                # Keys of merged mappings come first.
                self._keys[id(node)] = {name.value: (name.start_mark.line + 1, value) for name, value in node.value}
            return self._keys[id(node)].get(str(key))
        if isinstance(key, int) and key < len(node.value):
            return node.value[key].start_mark.line + 1, node.value[key]
        return None

    def validate(self, schema_name: str) -> None:
        """Check the content against a JSON Schema of this package; None is a valid section with nothing in it.

        Raises:
            ConfigError: The content is not valid; names file, line and key, and for an unknown key the nearest one.
        """
        import jsonschema

        schema = YamlFile.read(SCHEMAS / f"{schema_name}.schema.yaml").value
        errors = jsonschema.Draft202012Validator(schema).iter_errors(self.value)
        errors = (error for error in errors if not _is_empty_section(error))
        # One of them is kept at a time: a file may have one for each of its nodes.
        found = min(errors, key=lambda error: (-len(error.absolute_path), str(error.absolute_path)), default=None)
        if found is not None:
            raise self._explain(found)

    def _explain(self, error: ValidationError) -> ConfigError:
        keys = list(error.absolute_path)
        schema: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
        allowed: Any = error.validator_value
        if error.validator == "type" and error.instance is None and keys:
            return ConfigError("the key has no value", where=self.place(keys), hint="write one, or delete the line")
        if error.validator == "additionalProperties" and isinstance(error.instance, dict):
            known = sorted(schema.get("properties", {}))
            key = next(str(key) for key in error.instance if key not in known)
            return ConfigError(f"unknown key {key!r}", where=self.place([*keys, key]), hint=nearest(key, known))
        if error.validator == "required" and isinstance(error.instance, dict):
            missing = [key for key in allowed if key not in error.instance]
            hint = f"add {missing[0]!r}"
            return ConfigError(f"the key {missing[0]!r} is missing", where=self.place(keys), hint=hint)
        if error.validator == "enum":
            what = f"{error.instance!r} is not known"
            hint = nearest(str(error.instance), [str(value) for value in allowed])
            return ConfigError(what, where=self.place(keys), hint=hint)
        if error.validator == "pattern" and schema.get("description"):
            what = f"{error.instance!r} is not written as it should be"
            return ConfigError(what, where=self.place(keys), hint=schema["description"])
        hint = schema.get("description", "")
        wants_text = error.validator == "type" and allowed in ("string", ["string", "array"])
        if wants_text and isinstance(error.instance, bool | int | float):
            hint = f"write {in_quotes(self._find(keys)[1].value)}"
        return ConfigError(_short(error.message), where=self.place(keys), hint=hint)


def _is_empty_section(error: ValidationError) -> bool:
    """Tell whether a section, or the whole file, is empty because all of its lines are comments."""
    is_section = error.validator == "type" and error.validator_value == "object" and error.instance is None
    return is_section and not (error.absolute_path and _needs_keys(error.schema))


def _needs_keys(schema: Any) -> bool:
    return bool(schema.get("required"))


def _decode(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError("the file is UTF-16 text, not UTF-8", where=f"{path}:1", hint="save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{path}:{data.count(10, 0, error.start) + 1}"
        raise ConfigError("the file is not UTF-8 text", where=where, hint="save it as UTF-8") from error


def _build(loader: Any) -> tuple[Any, Any]:
    """Return the root node and the value of a text that has passed :func:`check_events`."""
    try:
        node = loader.get_single_node()
        if node is None:
            return None, None
        check_nodes(node, loader)
        return node, loader.construct_document(node)
    finally:
        loader.dispose()


def _not_yaml(error: YAMLError, text: str, limits: Limits) -> Problem:
    """Return the problem that a parser found, with a hint for the common ones."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    if mark is None:  # errors of the reader have no mark, only a position that some versions count in bytes
        at = next((at for at, char in enumerate(text) if not char.isprintable() and char not in "\n\r\t"), 0)
        line = text.count("\n", 0, at) + 1
        return Problem(line, f"not valid YAML: {what}", f"delete the character {text[at : at + 1]!a}")
    line = int(mark.line) + 1
    if "nesting depth" in what:
        return too_deep(line, limits)
    lines = text.splitlines()
    shown = lines[line - 1] if line <= len(lines) else ""
    hint = "indent with blanks" if shown[: len(shown) - len(shown.lstrip())].count("\t") else ""
    return Problem(line, f"not valid YAML: {what}", hint or _hint(what))


def _hint(what: str) -> str:
    hints = {
        "mapping values are not allowed": "put text with a colon in quotes, and indent all keys of one level alike",
        "another document": "keep one document in the file, without a second ---",
        "cannot start any token": "put text that begins with this character in quotes",
        "undefined alias": "define it with & above, or put the text in quotes",
        "expected the node content": "look for a bracket or quote that is not closed",
        "expected ',' or": "look for a bracket that is not closed",
        "end of stream": "look for a quote that is not closed",
    }
    return next((hint for words, hint in hints.items() if words in what), "check this line and the one above")


def _settable(limits: Limits | None) -> str:
    return "make it smaller" if limits is None else "make it smaller, or raise the limit in sifmake.yaml (limits:)"


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a hint that names the nearest known word, or all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."
