"""Whether there is room for an image, as far as its manifest tells: before its first layer is fetched.

A manifest has the compressed sizes of layers. A pack takes as much again, but files that a layer has twice are in it
once; and what upper layers delete or repeat is not in the image (docs/adr/0022-room-before-bytes.md).
So an image is refused when parts of the sizes do not fit, and a warning tells when the sizes themselves do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.layers.pack_format import pack_key_prefix
from sifmake.places import store_place
from sifmake.room import Need, check_room, find_shortage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sifmake.oci.model import Image
    from sifmake.places import Place
    from sifmake.progress import Progress
    from sifmake.store import Store

_PACKED = 0.75
"""Part of a compressed layer that its pack takes at least: 0.97 to 1.5 was measured, 0.5 if it has every file twice."""
_KEPT = 0.5
"""Part of the layers that an image keeps at least: `RUN chown -R` doubles what is below it."""


def check_image_room(image: Image, store: Store, outputs: Sequence[Place], progress: Progress) -> None:
    """Do nothing if an image has room; what the store has of it needs none.

    Args:
        image: The image.
        store: Takes its packs.
        outputs: Each takes the SIF file.
        progress: Told a warning if it may become scarce.

    Raises:
        NoRoomError: There is surely not enough.
    """
    # What is uncompressed may shrink to any size.
    sizes = {layer.diff_id: layer.descriptor.size for layer in image.layers if layer.descriptor.digest != layer.diff_id}
    if find_shortage(_needs(sizes, set(sizes), store, outputs, 1, 1)) is None:
        return
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
