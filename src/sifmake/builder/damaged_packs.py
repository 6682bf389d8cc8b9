"""Packs of the store that turn out to be damaged: remove them, and repeat what failed because of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sifmake.errors import FlattenError, PackDamagedError, SquashfsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sifmake.errors import SifmakeError
    from sifmake.layers.pack_reader import Pack
    from sifmake.limits import Limits
    from sifmake.progress import Progress
    from sifmake.store import Store

T = TypeVar("T")


def retry_damaged(attempt: Callable[[], T], drop: Callable[[SifmakeError], bool], progress: Progress) -> T:
    """Return the result of an attempt; if it fails because of a damaged pack, drop the pack and try once more.

    A damaged pack may raise its own error or, if its checksums were forged, errors of merging and writing.

    Args:
        attempt: The work; it fetches packs that the store lacks.
        drop: Removes damaged packs from the store; returns whether there were any.
        progress: Gets a warning before the second attempt.
    """
    try:
        return attempt()
    except (PackDamagedError, FlattenError, SquashfsError) as error:
        if not drop(error):
            raise
        progress.warning(str(PackDamagedError(error.what, where=error.where, hint="the layer will be packed again")))
    return attempt()


def drop_damaged(packs: Sequence[Pack], store: Store, error: SifmakeError | None = None) -> bool:
    """Remove packs from the store that packing cannot have written; return whether there were any.

    Args:
        packs: The packs of the image.
        store: The store that they come from.
        error: The error that occurred; data blocks are inflated only if they can have caused it.
    """
    from sifmake.layers.pack_audit import STORED_LIMITS, check_index
    from sifmake.layers.pack_proof import verify_pack

    check: Callable[[Pack, Limits], object] = verify_pack
    if isinstance(error, FlattenError | SquashfsError):
        check = check_index
    damaged = False
    for pack in packs:
        try:
            check(pack, STORED_LIMITS)
        except PackDamagedError:
            damaged = True
            store.packs.drop(pack.path.name)
    return damaged
