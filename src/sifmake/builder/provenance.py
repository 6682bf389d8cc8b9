"""What a SIF says of where its image came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sifmake.project.locks import Lock
    from sifmake.rootfs import Origin


def make_origin(transport: str, name: str, manifest_digest: str) -> Origin:
    """Return the origin of an image that a source calls ``name``."""
    from sifmake.reference import parse_reference
    from sifmake.rootfs import Origin

    if transport != "docker":
        return Origin(transport, name, "", manifest_digest)
    reference = parse_reference(name)
    return Origin(transport, reference.familiar, reference.canonical, manifest_digest)


def source_origin(lock: Lock) -> Origin:
    """Return the origin that a lock tells of."""
    return make_origin(lock.source.transport, lock.name, lock.manifest)
