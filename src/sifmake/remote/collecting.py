"""Delete packs from a registry that no lock has named for some time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.registry.client import RegistryClient
from sifmake.registry.error_responses import NotFoundError
from sifmake.remote.pack_manifest import subject_of
from sifmake.remote.place import place_settings
from sifmake.remote.unused_marks import read_marks, write_marks
from sifmake.sources.registry_image import client_settings

if TYPE_CHECKING:
    from collections.abc import Container

    from sifmake.registry.upkeep import Upkeep
    from sifmake.remote.settings import RemoteSettings
    from sifmake.sources.settings import SourceSettings


@dataclass(frozen=True)
class Collected:
    """What was deleted.

    Attributes:
        removed: Tags that were deleted, or would be.
        waiting: Tags that no lock names, but not for long enough.
        kept: How many packs and notes locks name.
    """

    removed: tuple[str, ...]
    waiting: tuple[str, ...]
    kept: int


def collect_packs(
    remote: RemoteSettings, settings: SourceSettings, named: Container[str], age: float, now: float, *, dry_run: bool
) -> Collected:
    """Delete the packs and notes on steps that nothing names; other artifacts of the repository stay.

    Args:
        remote: The registry.
        settings: Registries, credentials, limits.
        named: DiffIDs of layers and keys of steps that locks name, hexadecimal.
        age: For how many seconds a pack must have been unused, as far as earlier calls have seen.
        now: Seconds since 1970.
        dry_run: Whether to change nothing.

    Raises:
        RegistryError: There is no answer, or the registry does not allow it.
        LimitError: The registry has too many tags.
    """
    client = RegistryClient(remote.repository, client_settings(place_settings(settings, uploading=True)))
    limit = settings.limits.remote_listing_bytes
    try:
        subjects = {tag: subject for tag in client.upkeep(limit).tags() if (subject := subject_of(tag))}
        unused = [tag for tag, subject in subjects.items() if subject not in named]
        before = read_marks(client, limit)
        since = {tag: min(before.get(tag, int(now)), int(now)) for tag in unused}
        old = [tag for tag in unused if now - since[tag] >= age]
        waiting = {tag: moment for tag, moment in since.items() if tag not in set(old)}
        if not dry_run:
            if waiting != before:
                write_marks(client, waiting)
            for tag in old:
                _delete(client, client.upkeep(limit), tag)
        return Collected(tuple(old), tuple(waiting), len(subjects) - len(unused))
    finally:
        client.close()


def _delete(client: RegistryClient, upkeep: Upkeep, tag: str) -> None:
    try:
        upkeep.delete(client.head(tag).digest)
    except NotFoundError:
        return  # somebody else has deleted it
