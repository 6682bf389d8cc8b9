"""Write the files of the last stage's metadata sections in ``/.singularity.d``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.definition.blanks import before_comment, trimmed
from sifmake.definition.build_labels import merged_labels
from sifmake.definition.model import as_bytes
from sifmake.rootfs.gojson import clean, indented
from sifmake.rootfs.places import keep_history

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sifmake.definition.build_labels import About
    from sifmake.definition.model import BuildStage, Section
    from sifmake.definition.section_choice import SectionChoice
    from sifmake.limits import Limits
    from sifmake.rootfs.editing import Editor

_META = b".singularity.d/"
_ENVIRONMENT = _META + b"env/90-environment.sh"
_HELP = _META + b"runscript.help"
_SCRIPTS = ("startscript", "runscript", "test")


@dataclass(frozen=True)
class Below:
    """The state of the image before its metadata sections are applied.

    Attributes:
        read: Returns the bytes of the regular file at a path (without leading slash); None if there is none.
        labels: Labels of the base.
        post_labels: What ``%post`` wrote to ``$APPTAINER_LABELS``.
    """

    read: Callable[[bytes], bytes | None]
    labels: Mapping[str, str]
    post_labels: bytes = b""


def apply_sections(
    editor: Editor, stage: BuildStage, text: bytes, below: Below, about: About, choice: SectionChoice, limits: Limits
) -> tuple[dict[str, str], list[str]]:
    """Apply the metadata sections of a stage to a tree, after ``%post`` and before ``%test``.

    Args:
        editor: Changes the tree.
        stage: The stage that becomes the image.
        text: The definition as recorded in the image.
        below: The state before.
        about: Facts about the build, for labels.
        choice: Which sections are used.
        limits: ``definition_labels`` is used.

    Returns:
        All labels, sorted; and warnings, one line each.

    Raises:
        SourceError: Something is in the way of a file.
        LimitError: ``%post`` sets too many labels.
    """
    warnings = _write_help(editor, stage, below, choice)
    labels, kept = merged_labels(stage, below.labels, below.post_labels, about, choice, limits)
    editor.write(_META + b"labels.json", indented(labels), 0o644, keep_mode=True)
    keep_history(editor)
    editor.write(_META + b"Singularity", text, 0o644)
    if added := choice.text(stage, "environment"):
        before = below.read(_ENVIRONMENT)
        whole = b"#!/bin/sh\n" if before is None else before
        editor.write(_ENVIRONMENT, whole + as_bytes(f"\n{added}\n"), 0o755, keep_mode=True)
    for name in _SCRIPTS:
        if choice.text(stage, name):
            editor.write(_META + name.encode(), as_bytes(script_text(stage.sections[name])), 0o755, keep_mode=True)
    return {clean(name): clean(value) for name, value in labels.items()}, warnings + kept


def script_text(section: Section) -> str:
    """Return a section's script: with its own ``#!`` line, or one for ``/bin/sh`` with the section's arguments."""
    first, text = "#!/bin/sh", section.text
    if trimmed(text).startswith("#!"):
        line, _, text = text.partition("\n")
        first = trimmed(line)
    if section.arguments:
        first += f" {before_comment(section.arguments)}"
    return f"{first}\n\n{text}\n"


def _write_help(editor: Editor, stage: BuildStage, below: Below, choice: SectionChoice) -> list[str]:
    text = choice.text(stage, "help")
    if not text:
        return []
    if not choice.force and below.read(_HELP) is not None:
        return ["the base has a help text: %help is ignored; use --force to replace it"]
    editor.write(_HELP, as_bytes(f"{text}\n"), 0o644, keep_mode=True)
    return []
