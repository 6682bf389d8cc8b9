"""The image's ``Env`` as a shell script: ``/.singularity.d/env/10-docker2singularity.sh``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sifmake.errors import one_line
from sifmake.rootfs.shell import double_quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


def environment_script(env: Sequence[str]) -> tuple[str, list[str]]:
    """Return the script, and warnings about items that no shell can set.

    If several items have the same name, the last one wins, as in Docker and runc. Except for PATH, a value already in
    the environment takes precedence over the image's; runtimes source the script with an almost empty environment.
    """
    values: dict[str, str | None] = {}
    warnings: list[str] = []
    for item in env:
        name, equals, value = item.partition("=")
        if not _NAME.fullmatch(name) or "\0" in value:
            warnings.append(f"environment variable '{one_line(name)}' is left out: no shell can set it")
            continue
        values[name] = value if equals else None
    lines = ["#!/bin/sh", *(_export(name, value) for name, value in values.items())]
    return "\n".join(lines) + "\n", warnings


def _export(name: str, value: str | None) -> str:
    if value is None:
        return f'export {name}="${{{name}:-}}"'
    if name == "PATH":
        return f"export PATH={double_quoted(value)}"
    return f'export {name}="${{{name}:-{double_quoted(value)}}}"'
