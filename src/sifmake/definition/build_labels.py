"""Labels of an image built from a definition file: from the base, ``%post``, the build and ``%labels``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.definition.label_lines import parse_labels
from sifmake.errors import LimitError, one_line
from sifmake.rootfs.labels import DEFFILE_PREFIX, OCI_PREFIX, SCHEMA_PREFIX, build_date

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sifmake.definition.model import BuildStage
    from sifmake.definition.section_choice import SectionChoice
    from sifmake.limits import Limits

_HELP_FILE = "/.singularity.d/runscript.help"


@dataclass(frozen=True)
class About:
    """Facts about a build that its labels record.

    Attributes:
        architecture: Architecture of the programs in the image, in Go's spelling.
        variant: Variant of the architecture (``v7``); may be empty.
        created: Time of the build; None if it is not set.
        canonical: Full reference of a base from a registry; empty for others.
        digest: Digest of that base's manifest.
    """

    architecture: str
    variant: str = ""
    created: datetime | None = None
    canonical: str = ""
    digest: str = ""


def merged_labels(
    stage: BuildStage, base: Mapping[str, str], post: bytes, about: About, choice: SectionChoice, limits: Limits
) -> tuple[dict[str, str], list[str]]:
    """Return all labels, sorted by name, and warnings about labels in ``%labels`` that are ignored.

    Bytes that are not UTF-8 are still lone surrogates.

    Args:
        stage: The stage that becomes the image.
        base: Labels of its base.
        post: What ``%post`` wrote to ``$APPTAINER_LABELS``; wins over the base.
        about: Facts about the build; win over both.
        choice: Whether ``%labels`` is used, and wins over existing labels.
        limits: ``definition_labels`` is used.

    Raises:
        LimitError: ``%post`` sets too many labels.
    """
    written = parse_labels(post.decode("utf-8", "surrogateescape"))
    if len(written) > limits.definition_labels:
        most = limits.definition_labels
        raise LimitError(f"%post sets more than {most} labels (limit definition-labels)")
    labels = {**base, **written, **_about(stage, about, with_help=bool(choice.text(stage, "help")))}
    warnings = []
    for name, value in parse_labels(choice.text(stage, "labels")).items():
        if name in labels and not choice.force:
            warnings.append(f"the label {one_line(name)} exists already: the one in %labels is ignored without --force")
        else:
            labels[name] = value
    return dict(sorted(labels.items())), warnings


def _about(stage: BuildStage, about: About, *, with_help: bool) -> dict[str, str]:
    labels = {
        f"{SCHEMA_PREFIX}schema-version": "1.0",
        f"{SCHEMA_PREFIX}build-arch": about.architecture,
        f"{OCI_PREFIX}architecture": about.architecture,
        **{f"{DEFFILE_PREFIX}{key}": value for key, value in stage.header.items()},
    }
    if about.variant:
        labels[f"{OCI_PREFIX}variant"] = about.variant
    if about.created is not None:
        labels[f"{OCI_PREFIX}created"] = about.created.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)
        labels[f"{SCHEMA_PREFIX}build-date"] = build_date(about.created)
    if about.canonical:
        labels[f"{OCI_PREFIX}base.name"] = about.canonical
        labels[f"{OCI_PREFIX}base.digest"] = about.digest
    if with_help:
        labels[f"{SCHEMA_PREFIX}usage"] = _HELP_FILE
        labels[f"{SCHEMA_PREFIX}usage.apptainer.runscript.help"] = _HELP_FILE
    return labels
