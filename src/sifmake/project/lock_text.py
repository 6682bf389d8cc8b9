"""The text of lock files: YAML in a form that is the same for the same content, written and read without a parser."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from sifmake.json_text import parse_json

_PAIR = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")
"""A character beyond U+FFFF, as JSON may write it and YAML may not."""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/:@")


def checksum(document: dict[str, Any]) -> str:
    """Return the checksum that reveals an edited lock; the layout of the YAML does not matter."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def nested(lines: list[str]) -> dict[str, Any]:
    """Return the mappings in lines that are indented by two blanks per level; lists contain flat mappings."""
    document: dict[str, Any] = {}
    levels: list[dict[str, Any]] = [document]
    last = ""
    for line in lines:
        text = line.lstrip(" ")
        del levels[(len(line) - len(text)) // 2 + 1 :]
        if text.startswith("- {"):
            pairs = (pair.split(": ", 1) for pair in text[3:-1].split(", "))
            levels[-2][last] = levels[-2][last] or []
            levels[-2][last].append({key: _value(value) for key, value in pairs})
            continue
        key, value = _key_and_rest(text)
        if value:
            levels[-1][key] = _value(value)
        else:
            last = key
            levels.append({})
            levels[-2][key] = levels[-1]
    return document


def _key_and_rest(text: str) -> tuple[str, str]:
    if not text.startswith('"'):
        key, _, rest = text.partition(":")
        return key, rest.removeprefix(" ")
    key, end = json.JSONDecoder().raw_decode(text)
    return key, text[end + 1 :].removeprefix(" ")


def _value(text: str) -> Any:
    return parse_json(text) if text[0] in '"{[' or text.isdigit() else text


def yaml_lines(value: dict[str, Any], indent: str = "") -> list[str]:
    """Return YAML lines for nested mappings and lists of flat mappings; scalars are written as in JSON."""
    lines = []
    for key, item in value.items():
        name = _scalar(key)
        if isinstance(item, dict) and item:
            lines += [f"{indent}{name}:", *yaml_lines(dict(item), indent + "  ")]
        elif isinstance(item, list) and item:
            lines.append(f"{indent}{name}:")
            lines += [f"{indent}  - {{{', '.join(f'{k}: {_scalar(v)}' for k, v in part.items())}}}" for part in item]
        else:
            lines.append(f"{indent}{name}: {_scalar(item)}")
    return lines


def _scalar(value: Any) -> str:
    """Return a plain scalar if YAML cannot misread it, else a double-quoted one."""
    if isinstance(value, str) and value and value[0].isalpha() and set(value) <= _PLAIN and _reads_as_text(value):
        return value
    return join_pairs(json.dumps(value, ensure_ascii=True))


def join_pairs(text: str) -> str:
    """Return the text of a lock with characters such as an emoji as they are; locks of before 0.3 have two escapes."""
    return _PAIR.sub(lambda pair: str(json.loads(f'"{pair[0]}"')), text)


def _reads_as_text(value: str) -> bool:
    return not value.endswith(":") and value.lower() not in {
        "true", "false", "yes", "no", "on", "off", "null", "y", "n",
    }  # fmt: skip
