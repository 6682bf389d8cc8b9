"""The reference of the Python API: every public name of ``sifmake`` with its signature and docstring."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

import sifmake

LONGEST_LINE = 100
LONGEST_DEFAULT = 40
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):\n((?:(?: {{4}}.*)?\n)+)", re.MULTILINE)
_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
_EXAMPLE = re.compile(r"::\n\n((?:(?: {4}.*)?\n)+)")


def api_page() -> str:
    """Return the page without its header."""
    names = [name for name in sifmake.__all__ if not name.startswith("_")]
    parts = ["# Python API\n", _text(inspect.getdoc(sifmake) or ""), INTRODUCTION]
    parts += [_entry(name, getattr(sifmake, name)) for name in sorted(names, key=_order)]
    return "\n".join(parts)


INTRODUCTION = """\
Everything on this page is public: it changes only with an entry in the [changelog](../../CHANGELOG.md). All other
names are private, though they can be imported. The library prints nothing, asks nothing and never exits; it raises the
[errors](errors.md) of `sifmake.errors`.
"""


def _order(name: str) -> tuple[bool, str]:
    """Functions first: they are what a reader looks for."""
    return inspect.isclass(getattr(sifmake, name)), name.lower()


def _entry(name: str, value: Any) -> str:
    if not callable(value):
        return f"## {name}\n\n{type(value).__name__}\n"
    lines = [f"## {name}\n", f"```python\n{_signature(name, value)}\n```\n", _described(value)]
    if inspect.isclass(value):
        for method_name, method in inspect.getmembers(value, inspect.isfunction):
            if not method_name.startswith("_") and method.__qualname__.startswith(value.__qualname__):
                lines += [f"### {name}.{method_name}\n", f"```python\n{_signature(method_name, method)}\n```\n"]
                lines.append(_described(method))
    return "\n".join(lines)


class _Bare(str):
    """Text that stands in a signature as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _signature(name: str, value: Any) -> str:
    """Return the call of a function, method or class: annotations as written, long defaults left out."""
    if getattr(value, "_is_protocol", False):
        return f"class {name}(Protocol)"
    head = f"class {name}" if inspect.isclass(value) else name
    try:
        signature = inspect.signature(value)
    except ValueError:
        return head
    kept = [_bare(p) for p in signature.parameters.values() if p.name != "self"]
    result = inspect.Signature.empty if inspect.isclass(value) else _annotation(signature.return_annotation)
    text = f"{head}{signature.replace(parameters=kept, return_annotation=result)}"
    return text if len(text) <= LONGEST_LINE else _broken(text)


def _bare(parameter: inspect.Parameter) -> inspect.Parameter:
    default = parameter.default
    if default is not inspect.Parameter.empty and len(repr(default)) > LONGEST_DEFAULT:
        default = _Bare("...")
    return parameter.replace(annotation=_annotation(parameter.annotation), default=default)


def _annotation(value: Any) -> Any:
    return _Bare(value) if isinstance(value, str) else value


def _broken(text: str) -> str:
    """Put each parameter on a line."""
    head, _, rest = text.partition("(")
    inner, _, result = rest.rpartition(")")
    parameters = re.split(r", (?![^\[(]*[\])])", inner)
    return f"{head}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){result}"


def _described(value: Any) -> str:
    text = (inspect.getdoc(value) or "") + "\n"
    sections = {match[1]: textwrap.dedent(match[2]) for match in _SECTION.finditer(text)}
    parts = [_text(_SECTION.sub("", text))]
    for title, body in sections.items():
        parts += [f"**{title}**\n", _items(body) if title not in {"Returns", "Yields"} else _text(body)]
    return "\n".join(parts)


def _items(body: str) -> str:
    """Return ``name: meaning`` paragraphs as a list."""
    found = re.findall(r"^(\S[^:]*): (.*(?:\n +.*)*)", body, re.MULTILINE)
    return "".join(f"- `{name}`: {_inline(' '.join(meaning.split()))}\n" for name, meaning in found)


def _text(text: str) -> str:
    """Return a docstring's paragraphs as Markdown."""

    def fenced(match: re.Match[str]) -> str:
        return f":\n\n```python\n{textwrap.dedent(match[1]).strip()}\n```\n"

    return _inline(_EXAMPLE.sub(fenced, text.strip() + "\n"))


def _inline(text: str) -> str:
    return _ROLE.sub(r"`\1`", text).replace("``", "`").replace("````python", "```python")
