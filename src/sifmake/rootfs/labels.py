"""Labels of a SIF file. They depend only on the image and the configuration, not on clock, host or tool version."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sifmake.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.rootfs.model import Origin

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)
SCHEMA_PREFIX = "org.label-schema."
DEFFILE_PREFIX = SCHEMA_PREFIX + "usage.singularity.deffile."
OCI_PREFIX = "org.opencontainers.image."


def parse_created(text: str) -> datetime | None:
    """Return the time of an RFC 3339 text in UTC, whole seconds; None if it is invalid or Go's zero time."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    day, time, sign, hours, minutes = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time}+00:00")
        if sign:
            moment -= timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year > 1 else None


def build_date(moment: datetime) -> str:
    """Format a time for the label ``build-date``: in English in every locale, without leading zeros."""
    moment = moment.astimezone(UTC)
    day = f"{_WEEKDAYS[moment.weekday()]}_{moment.day}_{_MONTHS[moment.month - 1]}_{moment.year}"
    return f"{day}_{moment.hour}:{moment.minute}:{moment.second}_UTC"


def make_labels(
    own: Mapping[str, str], configured: Mapping[str, str], origin: Origin, created: str, architecture: str
) -> dict[str, str]:
    """Return all labels, sorted by name.

    The image's own labels come first. Labels about this build overwrite them, labels about the image do not. Configured
    labels overwrite both.

    Args:
        own: Labels of the image.
        configured: Labels from the configuration.
        origin: Where the image came from.
        created: The image's ``created``.
        architecture: The architecture found in the image.
    """
    moment = parse_created(created)
    labels = {OCI_PREFIX + "architecture": architecture}
    if moment is not None:
        labels[OCI_PREFIX + "created"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)
    labels |= own
    if moment is not None:
        labels[SCHEMA_PREFIX + "build-date"] = build_date(moment)
    labels |= _about_build(origin, architecture)
    if not origin.canonical:
        # The base of the SIF is the image itself, so its digest must not appear next to another image's name.
        labels.pop(OCI_PREFIX + "base.name", None)
    return dict(sorted({**labels, **configured}.items()))


def _about_build(origin: Origin, architecture: str) -> dict[str, str]:
    labels = {
        SCHEMA_PREFIX + "schema-version": "1.0",
        SCHEMA_PREFIX + "build-arch": architecture,
        DEFFILE_PREFIX + "bootstrap": origin.transport,
        DEFFILE_PREFIX + "from": one_line(origin.name),
        OCI_PREFIX + "base.digest": origin.manifest_digest,
    }
    if origin.canonical:
        labels[OCI_PREFIX + "base.name"] = origin.canonical
    return labels
