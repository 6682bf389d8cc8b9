"""A copy in the store of a SIF file that was pulled: it runs without a network, as an image with layers does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.builder.checked_sif import add_checked, find_checked
from sifmake.builder.name_meanings import keep_meaning
from sifmake.builder.run_cache import key_of_file
from sifmake.errors import SifmakeError
from sifmake.files import atomic_write
from sifmake.oci.platform import host_platform
from sifmake.places import store_place
from sifmake.room import Need, check_room
from sifmake.sif.append import copy_file

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.oci.model import Platform
    from sifmake.reference import Uri
    from sifmake.store import Store


def keep_copy(store: Store, uri: Uri, platform: Platform, path: Path, digest: str | None) -> None:
    """Keep a copy of a SIF file that was just fetched; one for another machine cannot run here and is not kept.

    Args:
        store: Gets the copy, sharing blocks where the file system can; if it cannot, that is said and nothing else.
        uri: Where the file came from.
        platform: What was asked for.
        path: The file.
        digest: What its source says of it; None if that says nothing.
    """
    if platform.architecture != host_platform().architecture:
        return
    key = key_of_file(uri, digest)
    try:
        found = find_checked(store, key) if digest else None
        if found is None:
            check_room([Need(store_place(store.root), path.stat().st_size)])
            found = add_checked(store, key, lambda copy: _copy(path, copy))
        found.close()
    except (OSError, SifmakeError) as error:
        store.progress.info(f"the store keeps no copy of {path} for runs without a network: {error}")
        return
    keep_meaning(store, uri, platform, key)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reader, atomic_write(target, 0o600) as file:
        copy_file(reader.fileno(), file.fileno())
