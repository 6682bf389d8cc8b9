"""The interface of all sources of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from sifmake.oci.digest import digest_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sifmake.oci.model import Image, Layer, Platform


class Resolved(msgspec.Struct, frozen=True):
    """The document to which a reference points now.

    Attributes:
        digest: Digest of the index or manifest that the reference names.
        manifest_digest: Digest of the manifest for the platform.
    """

    digest: str
    manifest_digest: str


def no_matter(_size: int) -> None:
    """Accept a file of any size."""


def name_note_key(name: str) -> str:
    """Return the key of the note that a name was resolved before, and to what."""
    return digest_bytes(f"name {name}".encode())


class KnownIndexes(Protocol):
    """Known indexes and the manifests chosen from them, so that one HEAD request is enough.

    Names are noted, too; see :func:`name_note_key`. For a name that was never resolved, a HEAD is useless, because a
    GET is needed anyway.
    """

    def find_manifest(self, index_digest: str, platform: Platform) -> str | None:
        """Return the digest of the manifest for a platform, or None if the index is not known."""

    def remember_manifest(self, index_digest: str, platform: Platform, manifest_digest: str) -> None:
        """Keep the manifest of an index."""


class BlobReader(Protocol):
    """The bytes of a layer as stored, perhaps compressed. The caller checks digest and size."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, empty at the end."""


class LayerFacts(msgspec.Struct, frozen=True):
    """The properties of a layer in a stream.

    Attributes:
        size: Bytes as stored, perhaps compressed.
        digest: Digest of these bytes.
        plain_size: Bytes of the uncompressed tar stream.
        diff_id: Digest of the uncompressed tar stream.
    """

    size: int
    digest: str
    plain_size: int
    diff_id: str


class LayerCandidate(msgspec.Struct, frozen=True):
    """A member of a stream that may be a layer.

    Attributes:
        name: Name of the archive's member; it may contain the right digest.
        reader: Its bytes.
        head: The first bytes, up to 512.
        size: Number of bytes.
        algorithm: Algorithm of the digests: ``sha256`` or ``sha512``.
        consumed: Returns how many bytes of the archive were read so far, compressed ones if it is compressed.
    """

    name: str
    reader: BlobReader
    head: bytes
    size: int
    algorithm: str
    consumed: Callable[[], int]


class LayerSink(Protocol):
    """Receives layers from a stream, before it is known whether they belong to the image."""

    def take(self, candidate: LayerCandidate) -> LayerFacts:
        """Take one layer, read to its end.

        Raises:
            IntegrityError: It is not a layer, or is damaged.
        """

    def keep(self, diff_ids: Collection[str]) -> None:
        """Keep these layers, and drop the others."""

    def drop(self) -> None:
        """Drop all layers that were not kept."""


class Source(Protocol):
    """A source of an image with layers.

    Attributes:
        transport: ``docker``, ``oci``, ``oci-archive``, ``docker-archive``, ...
        name: The image's name in the SIF: a normalised reference, or for local sources the file's name without its
            folder (with tag or digest if given).
    """

    transport: str
    name: str

    def resolve(self, platform: Platform, known: KnownIndexes | None = None) -> Resolved:
        """Ask which image the reference points to now.

        Raises:
            SourceError: The source has no such image, or none for the platform.
        """

    def image(self, manifest_digest: str) -> Image:
        """Fetch manifest and config, checked against their digests.

        Raises:
            SourceError: As for :meth:`resolve`.
            IntegrityError: Bytes do not have the expected digest or size.
        """

    def document(self, digest: str) -> bytes:
        """Return an index or manifest, checked against its digest.

        Raises:
            SourceError: The source has no document with this digest.
            IntegrityError: It is damaged.
        """

    def read_through(self, manifest_digest: str) -> None:
        """If the source is a stream, pass its layers to the sink now; otherwise do nothing.

        Raises:
            SourceError: As for :meth:`image`.
        """

    def open_layer(self, layer: Layer) -> AbstractContextManager[BlobReader]:
        """Open the blob of a layer for one pass from its first byte.

        If a ``WrongBlobError`` leaves the block, its ``elsewhere`` says whether to open the layer again.
        """

    def close(self) -> None:
        """Give back connections and temporary files."""


class SifSource(Protocol):
    """A source of a prebuilt SIF file.

    Attributes:
        transport: ``oras``, ``http``, ``https`` or ``file``.
        name: Name of the file; for local files without the folder.
    """

    transport: str
    name: str

    def resolve(self) -> str | None:
        """Return a digest that changes if the file changes; None if that needs a transfer.

        Raises:
            SourceError: The source has no such file.
        """

    def fetch(self, path: Path, expected: str = "", told_size: Callable[[int], object] = no_matter) -> str:
        """Write the file beside ``path`` and rename it there; return its SHA-256 as ``sha256:...``.

        Args:
            path: The target.
            expected: The digest that it must have; empty for any.
            told_size: Called with the file's size before the transfer, if it is known; may raise.

        Raises:
            SourceError: It cannot be read, or is not a SIF file.
            IntegrityError: It does not have the digest.
        """

    def close(self) -> None:
        """Give back connections and temporary files."""
