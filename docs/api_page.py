"""The reference of the public Python API, written from its signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from enum import Enum
from typing import TYPE_CHECKING, Any

import sifmake

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUPS = (
    ("Images", ("pull", "push", "inspect", "open_sif", "digest", "diff", "execute", "write_shims")),
    ("Definition files", ("lint",)),
    ("Signatures and keys", ("sign", "verify", "Keyring")),
    ("Projects", ("start_project", "lock", "STAGES", "run_stage", "rebuild", "seed")),
    ("Store and registries", ("Cache", "RemoteStore", "login", "logout", "logins")),
    ("Progress", ("Progress", "Task", "Silent")),
)
"""What the page has first, by chapter; the types of results follow."""
HEADINGS = {"Args": "Arguments", "Returns": "Returns", "Raises": "Errors", "Attributes": "Attributes"}
_WIDTH = 100


def api_page() -> str:
    """Return the page."""
    parts = [f"# Python API\n\n{_prose(sifmake)}\n"]
    rest = [name for name in sifmake.__all__ if not any(name in names for _, names in GROUPS)]
    for title, names in (*GROUPS, ("Results and errors", tuple(rest))):
        parts += [f"## {title}\n", *("\n\n".join(_entry(name)) + "\n" for name in names)]
    return "\n".join(parts)


def _entry(name: str) -> Iterator[str]:
    value = getattr(sifmake, name)
    yield f"### {name}"
    if not callable(value):
        yield f"`{value!r}`"
    elif not inspect.isclass(value):
        yield _code(_signature(name, value))
        yield _prose(value)
    else:
        yield from _class(name, value)


def _class(name: str, value: type) -> Iterator[str]:
    is_made = name in ("Cache", "Keyring", "RemoteStore")
    if is_made:
        yield _code(_signature(name, value))
    yield _prose(value)
    if is_made:
        yield _prose(vars(value)["__init__"])
    if issubclass(value, Enum):
        yield f"Values: {', '.join(f'`{item.name}`' for item in value)}."
        return
    members = {key: item for key, item in vars(value).items() if not key.startswith("_")}
    properties = {key: item for key, item in members.items() if isinstance(item, property)}
    if properties:
        yield "**Properties**"
        yield "\n".join(f"- `{key}`: {_inline(inspect.getdoc(item) or '')}" for key, item in properties.items())
    for key, item in members.items():
        if inspect.isfunction(item):
            yield f"#### {name}.{key}"
            yield _code(_signature(f"{name}.{key}", item))
            yield _prose(item)


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _signature(name: str, value: Any) -> str:
    found = inspect.signature(value)
    words, bare = [], False
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not bare:
            bare = True
            words.append("*")
        if parameter.name != "self":
            words.append(_parameter(parameter))
    end = "" if inspect.isclass(value) else f" -> {_type(found.return_annotation)}"
    line = f"{name}({', '.join(words)}){end}"
    return line if len(line) < _WIDTH else f"{name}(\n    " + ",\n    ".join(words) + f",\n){end}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{stars}{parameter.name}: {_type(parameter.annotation)}{default}"


def _type(annotation: str) -> str:
    return annotation.strip("'").replace("StrPath", "str | os.PathLike[str]")


def _prose(value: object) -> str:
    """Return a docstring as Markdown: its sections as lists, its examples as code, its references as code spans."""
    head, *rest = re.split(r"^(Args|Attributes|Raises|Returns):\n", inspect.getdoc(value) or "", flags=re.MULTILINE)
    parts = [_paragraph(text) for text in re.split(r"\n\n(?! {4})", head.strip()) if text]
    for name, text in zip(rest[::2], rest[1::2], strict=True):
        parts += [f"**{HEADINGS[name]}**", _list(text) if name != "Returns" else _inline(inspect.cleandoc(text))]
    return "\n\n".join(parts)


def _paragraph(text: str) -> str:
    """Return a paragraph, with the example that a ``::`` announces."""
    prose, _, example = text.partition("::\n\n")
    return f"{_inline(prose)}:\n\n{_code(inspect.cleandoc(example))}" if example else _inline(prose)


def _list(text: str) -> str:
    items = re.split(r"^ {4}(?=[\w.]+: )", text, flags=re.MULTILINE)
    return "\n".join(f"- `{name}`: {_inline(said)}" for name, _, said in (item.partition(": ") for item in items[1:]))


def _inline(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return " ".join(text.replace("``", "`").split())
