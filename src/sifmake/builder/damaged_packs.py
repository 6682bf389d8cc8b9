"""Packs of the store that turn out to be damaged: they leave it, and what they spoiled is done once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sifmake.errors import FlattenError, PackDamagedError, SquashfsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sifmake.errors import SifmakeError
    from sifmake.layers.pack_reader import Pack
    from sifmake.progress import Progress
    from sifmake.store import Store

T = TypeVar("T")


def retry_damaged(attempt: Callable[[], T], drop: Callable[[SifmakeError], bool], progress: Progress) -> T:
    """Return what an attempt does; where a damaged pack spoils it, drop the pack and try a second time.

    What a damaged pack may end in: its own error, and where somebody made checksums fit, those of merging and writing.

    Args:
        attempt: Has the packs fetched that the store lacks.
        drop: Takes damaged packs out of the store; returns whether there were any.
        progress: Told a warning before the second time.
    """
    try:
        return attempt()
    except (PackDamagedError, FlattenError, SquashfsError) as error:
        if not drop(error):
            raise
        progress.warning(str(PackDamagedError(error.what, where=error.where, hint="the layer is packed again")))
    return attempt()


def drop_damaged(packs: Sequence[Pack], store: Store, error: SifmakeError | None = None) -> bool:
    """Remove packs from the store that are not what packing writes; return whether there were any.

    Args:
        packs: The image's.
        store: Where they come from.
        error: What happened: blocks are inflated only where they can be behind it.
    """
    from sifmake.layers.pack_audit import STORED_LIMITS, check_index, check_pack

    check = check_index if isinstance(error, FlattenError | SquashfsError) else check_pack
    damaged = False
    for pack in packs:
        try:
            check(pack, STORED_LIMITS)
        except PackDamagedError:
            damaged = True
            store.packs.drop(pack.path.name)
    return damaged
