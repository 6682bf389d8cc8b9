"""Check that there is room for an image, from its manifest, before its first layer is downloaded.

A manifest has the compressed sizes of layers. A pack takes about as much, but stores duplicate files once, and the
image leaves out what upper layers delete or repeat (docs/adr/0022-room-before-bytes.md). So an image is refused if a
fraction of the sizes does not fit, and a warning is given if the full sizes do not. Images that can share their blocks
with the packs are not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.layers.pack_format import pack_key_prefix
from sifmake.places import store_place
from sifmake.reflinks import can_share
from sifmake.room import Need, check_room, find_shortage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sifmake.oci.model import Image
    from sifmake.places import Place
    from sifmake.progress import Progress
    from sifmake.store import Store

_PACKED = 0.75
"""Smallest size of a pack relative to its compressed layer: 0.97 to 1.5 was measured, 0.5 if every file is there twice.
"""
_KEPT = 0.5
"""Smallest size of an image relative to its layers: `RUN chown -R` doubles the files below it."""


def check_image_room(image: Image, store: Store, outputs: Sequence[Place], progress: Progress) -> None:
    """Raise an error if an image does not fit; packs that are in the store need no room.

    Args:
        image: The image.
        store: The store for its packs.
        outputs: The files that get the SIF image.
        progress: Gets a warning if there may not be enough room.

    Raises:
        NoRoomError: There is certainly not enough room.
    """
    # Uncompressed data may shrink to any size.
    sizes = {layer.diff_id: layer.descriptor.size for layer in image.layers if layer.descriptor.digest != layer.diff_id}
    if find_shortage(_needs(sizes, set(sizes), store, outputs, 1, 1)) is None:
        return
    outputs = [place for place in outputs if not can_share(store.root, place.path.parent)]
    missing = {diff_id for diff_id in sizes if not store.packs.keys(pack_key_prefix(diff_id))}
    check_room(_needs(sizes, missing, store, outputs, _PACKED, _PACKED if len(sizes) == 1 else _KEPT))
    if error := find_shortage(_needs(sizes, missing, store, outputs, 1, 1)):
        progress.warning(f"there may not be enough room: {error.what}")


def _needs(
    sizes: dict[str, int], missing: set[str], store: Store, outputs: Sequence[Place], packed: float, kept: float
) -> Iterator[Need]:
    yield Need(store_place(store.root), int(packed * sum(sizes[diff_id] for diff_id in missing)))
    for place in outputs:
        yield Need(place, int(kept * sum(sizes.values())))
