"""Parsing of ``--bind`` and ``--mount``, by Apptainer's rules."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.errors import UsageError

_BIND_FORM = "write SOURCE[:TARGET[:ro|rw]][,...]"
_MOUNT_FORM = "write type=bind,src=SOURCE,dst=TARGET[,ro]"
_SOURCES = ("source", "src")
_TARGETS = ("destination", "dst", "target")
_DATA = ("image-src", "id")
"""Options that mount a file which is itself an image."""


class Bind:
    """A path of the host to mount in the container.

    Attributes:
        source: Absolute path on the host.
        given: The same as the user wrote it.
        target: Path in the container, as the user wrote it.
        readonly: Whether to mount it read-only.
        data: Whether the source is an image whose files to mount.
    """

    def __init__(self, source: str, target: str, options: Iterable[str] = ()) -> None:
        names = [option.partition("=")[0] for option in options]
        self.given = source
        self.source = os.path.abspath(source)
        self.target = target or self.source
        self.readonly = "ro" in names
        self.data = any(name in _DATA for name in names)


def parse_binds(texts: Iterable[str]) -> list[Bind]:
    """Read ``SOURCE[:TARGET[:OPTIONS]],...``; a backslash before a comma or a colon makes it a part of the path.

    Options may also be separated by commas: an option after a target belongs to that bind.

    Raises:
        UsageError: A text does not have this form.
    """
    binds: list[list[str]] = []
    for text in texts:
        for item in map(str.strip, _separated(text, ",")):
            if _is_option(item) and binds and len(binds[-1]) > 1:
                binds[-1].append(item)
            elif item:
                binds.append(list(_separated(item, ":")))
                if len(binds[-1]) > 3:
                    raise _wrong("bind", item, _BIND_FORM)
    return [_bind_of(parts) for parts in binds]


def _bind_of(parts: list[str]) -> Bind:
    """Return the bind for a source, a target and options."""
    source, target = (part.replace("\\,", ",").replace("\\:", ":") for part in [*parts, ""][:2])
    if not source or not all(_is_option(part) for part in parts[2:]):
        raise _wrong("bind", ":".join(parts), _BIND_FORM)
    if len(parts) > 1 and not target.startswith("/"):
        raise _wrong("bind", ":".join(parts), _BIND_FORM, "the target is not an absolute path")
    return Bind(source, target, parts[2:])


def parse_mount(text: str) -> Bind:
    """Read ``type=bind,src=SOURCE,dst=TARGET[,ro]``; a field that contains a comma must be in double quotes.

    Raises:
        UsageError: The text does not have this form, or is another type of mount.
    """
    source = target = ""
    options: list[str] = []
    for field in fields(text):
        name, _equals, value = field.partition("=")
        if name in _SOURCES and value:
            source = value
        elif name in _TARGETS and value:
            target = value
        elif name in ("ro", "readonly"):
            options.append("ro")
        elif name in _DATA and value:
            options.append(field)
        elif field != "type=bind":
            raise _wrong("mount", text, _MOUNT_FORM)
    if not source or not target.startswith("/"):
        raise _wrong("mount", text, _MOUNT_FORM)
    return Bind(source, target, options)


def _separated(text: str, mark: str) -> Iterator[str]:
    """Yield the parts of a text between separators, except separators after a backslash."""
    start = at = 0
    while (at := text.find(mark, at)) >= 0:
        if at == 0 or text[at - 1] != "\\":
            yield text[start:at]
            start = at + 1
        at += 1
    yield text[start:]


def _is_option(text: str) -> bool:
    """Whether a text is an option of a bind."""
    return text in ("ro", "rw") or text.partition("=")[0] in _DATA


def fields(text: str) -> list[str]:
    """Return the fields of a line of comma-separated values; UsageError if a quote is not closed."""
    if '"' not in text:
        return text.split(",")
    import csv

    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        from sifmake.errors import UsageError

        raise UsageError(f"cannot read the list: {error}", where=text) from None
    return rows[0] if rows else []


def _wrong(kind: str, text: str, form: str, why: str = "") -> UsageError:
    """Return the error for a malformed specification."""
    from sifmake.errors import UsageError

    return UsageError(why or f"cannot read the {kind}", where=text, hint=form)
