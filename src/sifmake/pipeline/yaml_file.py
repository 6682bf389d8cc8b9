"""YAML files whose errors name file, line and key."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jsonschema.exceptions import ValidationError

SCHEMAS = Path(__file__).parent / "schemas"


class YamlFile:
    """A parsed YAML file that still knows where each value stands.

    Attributes:
        path: The file.
        value: Its content as plain values.
    """

    def __init__(self, path: Path, text: str) -> None:
        """Parse the text.

        Raises:
            ConfigError: It is not YAML, or a key stands twice in one mapping.
        """
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        self.path = path
        try:
            self._node: Any = loader.get_single_node()
            self._check_duplicates(self._node)
            self.value: Any = loader.construct_document(self._node) if self._node else None
        except yaml.YAMLError as error:
            raise self._not_yaml(error) from error
        finally:
            loader.dispose()

    @classmethod
    def read(cls, path: Path) -> YamlFile:
        """Read and parse a file.

        Raises:
            ConfigError: It cannot be read or parsed.
        """
        try:
            return cls(path, path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
        except UnicodeDecodeError as error:
            raise ConfigError("is not UTF-8 text", where=str(path)) from error

    def place(self, keys: Iterable[str | int]) -> str:
        """Return ``FILE:LINE: key.key`` of the value that the keys lead to, or of the last one that is there."""
        node, line, names = self._node, 1, []
        for key in keys:
            names.append(str(key))
            step = _step(node, key)
            if step is not None:
                line, node = step
        where = f"{self.path}:{line}"
        return f"{where}: {'.'.join(names)}" if names else where

    def validate(self, schema_name: str) -> None:
        """Check the content against a JSON Schema of this package.

        Raises:
            ConfigError: Names file, line, key, and the nearest right key of an unknown one.
        """
        import jsonschema

        schema = YamlFile.read(SCHEMAS / f"{schema_name}.schema.yaml").value
        errors = jsonschema.Draft202012Validator(schema).iter_errors(self.value)
        found = sorted(errors, key=lambda error: (-len(error.absolute_path), str(error.absolute_path)))
        if found:
            raise self._explain(found[0])

    def _explain(self, error: ValidationError) -> ConfigError:
        keys = list(error.absolute_path)
        schema: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
        allowed: Any = error.validator_value
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
        return ConfigError(error.message, where=self.place(keys), hint=schema.get("description", ""))

    def _not_yaml(self, error: Any) -> ConfigError:
        mark = getattr(error, "problem_mark", None)
        where = f"{self.path}:{mark.line + 1}" if mark else str(self.path)
        return ConfigError(f"is not YAML: {getattr(error, 'problem', None) or error}", where=where)

    def _check_duplicates(self, root: Any) -> None:
        stack = [root]
        while stack:
            node = stack.pop()
            if node is None or isinstance(node.value, str):
                continue
            if node.id == "sequence":
                stack += node.value
                continue
            seen: set[str] = set()
            for key, value in node.value:
                if not isinstance(key.value, str) or key.value in seen:
                    line = key.start_mark.line + 1
                    raise ConfigError(f"the key {key.value!r} stands twice", where=f"{self.path}:{line}")
                seen.add(key.value)
                stack.append(value)


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a hint that names the nearest known word, or all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def _step(node: Any, key: str | int) -> tuple[int, Any] | None:
    """Return line and node of a mapping's key or a sequence's item."""
    if node is None or isinstance(node.value, str):
        return None
    if node.id == "mapping":
        found = [(name, value) for name, value in node.value if name.value == str(key)]
        return (found[0][0].start_mark.line + 1, found[0][1]) if found else None
    if isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line + 1, node.value[key]
    return None
