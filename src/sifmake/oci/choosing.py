"""Choosing the manifest for a platform from an index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import SourceError, UsageError
from sifmake.oci.documents import Index
from sifmake.oci.media_types import INDEXES
from sifmake.oci.platform import parse_platform, rank

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sifmake.oci.model import Descriptor, Platform

_REFERENCE_TYPE = "vnd.docker.reference.type"


def choose_manifest(index: Index | Iterable[Descriptor], platform: Platform) -> Descriptor:
    """Return the entry that serves a platform best; the first of equals.

    Raises:
        SourceError: None does; the error lists the available platforms.
    """
    entries = images_in(index)
    ranked = [(found, number) for number, entry in enumerate(entries) if (found := _rank(entry, platform)) is not None]
    if ranked:
        return entries[min(ranked)[1]]
    raise no_match(entries, platform)


def images_in(index: Index | Iterable[Descriptor]) -> list[Descriptor]:
    """Return the entries that are images or further indexes; attestations are left out."""
    entries = index.entries if isinstance(index, Index) else index
    return [entry for entry in entries if not _is_attestation(entry)]


def _is_attestation(entry: Descriptor) -> bool:
    """Tell whether an entry is an attestation that buildx adds to an image."""
    if _REFERENCE_TYPE in entry.annotations:
        return True
    return entry.platform is not None and "unknown" in {entry.platform.os, entry.platform.architecture}


def is_index(entry: Descriptor) -> bool:
    """Tell whether an entry is another index."""
    return entry.media_type in INDEXES


def no_match(entries: Iterable[Descriptor], platform: Platform) -> SourceError:
    """Return the error that lists the available platforms."""
    there = sorted({str(entry.platform) for entry in entries if entry.platform})
    if there:
        return SourceError(f"there is no image for {platform}, only for {', '.join(there)}", hint=advise(there))
    hint = "name one of its images by digest (NAME@sha256:...), or ask its owner"
    return SourceError(f"there is no image for {platform}, and none of a known platform", hint=hint)


def advise(platforms: Iterable[str]) -> str:
    """Return a hint on how to get an image for one of some platforms."""
    for name in platforms:
        try:
            usable = parse_platform(name)
        except UsageError:
            continue
        return f"choose one: --platform {usable} for `sifmake pull`, `platform: {usable}` in images.yaml"
    if any(name.startswith("windows/") for name in platforms):
        return "use an image for Linux; SIF files cannot be made from Windows images"
    return "use an image for Linux; SIF files are made from Linux images only"


def _rank(entry: Descriptor, platform: Platform) -> int | None:
    return rank(entry.platform, platform) if entry.platform else None
