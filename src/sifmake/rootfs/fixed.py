"""Texts of the scripts that are the same in every image; they are files in this module's folder."""

from __future__ import annotations

from pathlib import Path

FIXED = (
    "actions/exec",
    "actions/run",
    "actions/shell",
    "actions/start",
    "actions/test",
    "env/01-base.sh",
    "env/90-environment.sh",
    "env/94-appsbase.sh",
    "env/95-apps.sh",
    "env/99-base.sh",
    "env/99-runtimevars.sh",
    "startscript",
)
"""Places below ``/.singularity.d``."""

_SCRIPTS = Path(__file__).with_name("scripts")


def text_of(name: str) -> str:
    """Return the text of one of :data:`FIXED`."""
    return (_SCRIPTS / name).read_text(encoding="utf-8")
