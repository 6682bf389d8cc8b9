"""Take over packs of users who are not trusted: copy the file first, then prove the copy.

The other order would prove nothing, because the owner can change his file after the check, and through a mapping even
without a new change time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from sifmake.errors import PackDamagedError
from sifmake.layers.pack_reader import Pack, load_pack
from sifmake.ranges import copy_some

if TYPE_CHECKING:
    from sifmake.limits import Limits
    from sifmake.store import Store
    from sifmake.store.stored_files import Found

_COPY_SIZE = 16 << 20


def adopt_pack(store: Store, found: Found, key: str, limits: Limits) -> Pack:
    """Return a proven copy of a pack, which is then in the writable store.

    Args:
        store: The store.
        found: The file of somebody else; this function closes it.
        key: The key that the pack must have.
        limits: Bounds on a layer.

    Raises:
        PackDamagedError: It is not the pack of this key, has no residue, or does not prove itself.
        StoreError: The store cannot be written.
        OSError: From reading or writing.
    """
    with load_pack(found.path, found.fd, key) as pack:
        if not pack.has_residue:
            raise PackDamagedError("it has no residue that could prove what it holds", where=str(found.path))
        made = store.packs.write_unproven(key, lambda file: _write_proven(file, pack, limits))
    return load_pack(made.path, made.fd, key)


def _write_proven(file: BinaryIO, pack: Pack, limits: Limits) -> None:
    """Copy a pack into an empty file, and prove what is there."""
    from sifmake.layers.pack_proof import prove_pack

    target, at, size = file.fileno(), 0, pack.footer.file_size
    while at < size:
        copied = copy_some(pack.fd, at, target, at, min(size - at, _COPY_SIZE))
        if not copied:
            raise PackDamagedError("layer pack is truncated", where=str(pack.path))
        at += copied
    with load_pack(pack.path, os.dup(target), pack.key) as copy:
        prove_pack(copy, limits)
