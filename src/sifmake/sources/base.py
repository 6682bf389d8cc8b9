"""The one shape that all sources of images have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sifmake.oci.digest import digest_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sifmake.oci.model import Image, Layer, Platform


@dataclass(frozen=True)
class Resolved:
    """What a reference means now.

    Attributes:
        digest: Of the document that the reference names: an index, or a manifest.
        manifest_digest: Of the manifest for the wanted platform.
    """

    digest: str
    manifest_digest: str


def no_matter(_size: int) -> None:
    """Go on, whatever size a file has."""


def name_note_key(name: str) -> str:
    """Return the digest under which it is noted that a name was asked for before, and what it meant then."""
    return digest_bytes(f"name {name}".encode())


class KnownIndexes(Protocol):
    """A memory of which index led to which platform manifest, so that one HEAD can answer.

    Names are noted in it too, see :func:`name_note_key`: the first time, a HEAD could tell nothing that makes a GET
    needless.
    """

    def find_manifest(self, index_digest: str, platform: Platform) -> str | None:
        """Return the platform manifest's digest, or None when the index was never looked into."""

    def remember_manifest(self, index_digest: str, platform: Platform, manifest_digest: str) -> None:
        """Keep what was found."""


class BlobReader(Protocol):
    """Compressed bytes of a layer, as they come. The reader of the bytes checks digest and size."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, empty at the end."""


@dataclass(frozen=True)
class LayerFacts:
    """What was found out about a layer that came by.

    Attributes:
        size: Bytes as they came, perhaps compressed.
        digest: Of those.
        plain_size: Bytes of the uncompressed tar stream.
        diff_id: Digest of that.
    """

    size: int
    digest: str
    plain_size: int
    diff_id: str


@dataclass(frozen=True)
class LayerCandidate:
    """Something that comes by and may be a layer.

    Attributes:
        name: Of the archive's member; a digest in it may be true.
        reader: Its bytes.
        head: The first of them, up to 512.
        size: How many there are.
        algorithm: Of the digests: ``sha256`` or ``sha512``.
        consumed: Returns how many bytes of the archive were read so far; of a compressed one its compressed bytes.
    """

    name: str
    reader: BlobReader
    head: bytes
    size: int
    algorithm: str
    consumed: Callable[[], int]


class LayerSink(Protocol):
    """Takes layers as they come by, before anyone knows whether the wanted image has them."""

    def take(self, candidate: LayerCandidate) -> LayerFacts:
        """Take one layer, read to its end.

        Raises:
            IntegrityError: It is no layer, or a damaged one.
        """

    def keep(self, diff_ids: Collection[str]) -> None:
        """Keep these of the layers that were taken, and drop the others."""

    def drop(self) -> None:
        """Drop all that was not kept."""


class Source(Protocol):
    """A place that has an image.

    Attributes:
        transport: ``docker``, ``oci``, ``oci-archive``, ``docker-archive``, ...
        name: What the SIF says it was made from: a normalised reference, or of local sources the file's name
            without its folder (with tag or digest where one was given).
    """

    transport: str
    name: str

    def resolve(self, platform: Platform, known: KnownIndexes | None = None) -> Resolved:
        """Ask what the reference means now.

        Raises:
            SourceError: The source has no such image, or none for the platform.
        """

    def image(self, manifest_digest: str) -> Image:
        """Fetch manifest and config, checked against their digests.

        Raises:
            SourceError: As :meth:`resolve`.
            IntegrityError: Bytes do not have the digest or size they should have.
        """

    def document(self, digest: str) -> bytes:
        """Return an index or manifest, checked against its digest.

        Raises:
            SourceError: The source has none of this digest.
            IntegrityError: It is damaged.
        """

    def read_through(self, manifest_digest: str) -> None:
        """Where layers come by once only, let them go to the sink now; elsewhere there is nothing to do.

        Raises:
            SourceError: As :meth:`image`.
        """

    def open_layer(self, layer: Layer) -> AbstractContextManager[BlobReader]:
        """Open the blob of a layer for one pass from its first byte.

        A ``WrongBlobError`` that leaves the block says in ``elsewhere`` whether to open the layer again.
        """

    def close(self) -> None:
        """Give back connections and temporary files."""


class SifSource(Protocol):
    """A place that has a finished SIF file and no layers.

    Attributes:
        transport: ``oras``, ``http``, ``https`` or ``file``.
        name: What the file is called there; of local files without the folder.
    """

    transport: str
    name: str

    def resolve(self) -> str | None:
        """Return a digest that stays the same as long as the file does; None where only fetching would tell.

        Raises:
            SourceError: The source has no such file.
        """

    def fetch(self, path: Path, expected: str = "", told_size: Callable[[int], object] = no_matter) -> str:
        """Write the file beside ``path`` and rename it there; return its SHA-256 as ``sha256:...``.

        Args:
            path: The target.
            expected: The digest that it must have; empty for any.
            told_size: Called with the file's bytes before the first of them is asked for, where that is known; may
                raise.

        Raises:
            SourceError: It cannot be read, or is no SIF file.
            IntegrityError: It does not have the digest.
        """

    def close(self) -> None:
        """Give back connections and temporary files."""
