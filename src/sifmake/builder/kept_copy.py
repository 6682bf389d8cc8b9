"""Keep a copy of a pulled SIF file in the store, so that it runs without a network, like images with layers."""

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
    """Keep a copy of a SIF file that was just downloaded, unless it is for another architecture and cannot run here.

    Args:
        store: Gets the copy, sharing blocks if the file system can; if copying fails, only a message says so.
        uri: Where the file came from.
        platform: The requested platform.
        path: The file.
        digest: The digest given by its source; None if there is none.
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
