"""The origin of an image, as recorded in its SIF file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sifmake.project.locks import Lock
    from sifmake.rootfs import Origin

BUILD_INPUTS = "sifmake-inputs.json"
"""Name of the object with the inputs of an image that was built from a definition."""


def make_origin(transport: str, name: str, manifest_digest: str) -> Origin:
    """Return the origin of an image with the name that its source gives it.

    A digest after a tag is left out. Without a tag it stays, because the image need not be what ``latest`` is.
    """
    from sifmake.reference import parse_reference
    from sifmake.rootfs import Origin

    head, _, _ = name.partition("@")
    if transport != "docker":
        return Origin(transport, head, "", manifest_digest)
    reference = parse_reference(head if ":" in head.rpartition("/")[2] else name)
    return Origin(transport, reference.familiar, reference.canonical, manifest_digest)


def source_origin(lock: Lock) -> Origin:
    """Return the origin of a lock's image."""
    return make_origin(lock.source.transport, lock.image, lock.manifest)
