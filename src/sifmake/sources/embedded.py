"""Layers whose bytes are embedded in the manifest (descriptor.md, ``data``)."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sifmake.oci.model import Layer
    from sifmake.sources.base import BlobReader


def open_embedded(layer: Layer) -> AbstractContextManager[BlobReader] | None:
    """Return the embedded bytes of a layer, or None if there are none."""
    data = layer.descriptor.data
    return None if data is None else nullcontext(io.BytesIO(data))
