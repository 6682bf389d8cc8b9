"""Which manifest of an index is the image for a platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import SourceError
from sifmake.oci.documents import Index
from sifmake.oci.media_types import INDEXES
from sifmake.oci.platform import rank

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sifmake.oci.model import Descriptor, Platform

_REFERENCE_TYPE = "vnd.docker.reference.type"


def choose_manifest(index: Index | Iterable[Descriptor], platform: Platform) -> Descriptor:
    """Return the entry that serves a platform best; the first of equals.

    Raises:
        SourceError: None does; the error says which platforms there are.
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
    """Tell whether an entry is what buildx adds about an image."""
    if _REFERENCE_TYPE in entry.annotations:
        return True
    return entry.platform is not None and "unknown" in {entry.platform.os, entry.platform.architecture}


def is_index(entry: Descriptor) -> bool:
    """Tell whether an entry leads to a further index."""
    return entry.media_type in INDEXES


def no_match(entries: Iterable[Descriptor], platform: Platform) -> SourceError:
    """Return the error that says what there is instead."""
    there = sorted({str(entry.platform) for entry in entries if entry.platform})
    what = f"there is no image for {platform}" + (f", only for {', '.join(there)}" if there else "")
    hint = f"choose one with --platform, for example --platform {there[0]}" if there else ""
    return SourceError(what, hint=hint)


def _rank(entry: Descriptor, platform: Platform) -> int | None:
    return rank(entry.platform, platform) if entry.platform else None
