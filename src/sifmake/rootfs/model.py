"""Inputs and results of preparing a root file system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from sifmake.layers.entry import Inode


class Origin(msgspec.Struct, frozen=True):
    """The origin of an image, as recorded in the SIF file.

    Attributes:
        transport: ``docker``, ``oci``, ``oci-archive``, ``docker-archive``, ...
        name: Of a registry's image the reference in its familiar form (``alpine:3.18``); of a local source the
            file's name without its folder.
        canonical: The full reference (``docker.io/library/alpine:3.18``); empty for local sources.
        manifest_digest: Digest of the platform's manifest.
    """

    transport: str
    name: str
    canonical: str
    manifest_digest: str


class SifMetadata(msgspec.Struct, frozen=True):
    """Data of the objects next to the root file system.

    Attributes:
        deffile: The definition file that would build the same image.
        inspect: ``inspect-metadata.json``, which ``inspect`` shows.
        oci_config: The image's settings: ``oci-config.json``.
    """

    deffile: bytes
    inspect: bytes
    oci_config: bytes


class Prepared(msgspec.Struct, frozen=True):
    """The files added to a tree, and the other objects of the SIF file.

    Attributes:
        files: New inodes, already in the tree, whose bytes the caller must store; none of them is empty.
        objects: Data of the other objects of the SIF file.
        architecture: Architecture of the programs inside, in Go's spelling.
        warnings: Warnings for the user, one line each.
    """

    files: tuple[tuple[Inode, bytes], ...]
    objects: SifMetadata
    architecture: str
    warnings: tuple[str, ...]
