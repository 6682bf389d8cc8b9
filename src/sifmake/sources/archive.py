"""What OCI layouts and docker archives have in common: one place with many images, of which a reference chooses one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError, SifmakeError, SourceError
from sifmake.sources.base import Resolved

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sifmake.limits import Limits
    from sifmake.oci.model import Image, Layer, Platform
    from sifmake.reference import LocalReference
    from sifmake.sources.base import BlobReader, KnownIndexes
    from sifmake.sources.content import Content


class ArchiveSource(ABC):
    """An image in a place with files by name.

    Attributes:
        transport: ``oci``, ``oci-archive``, ``docker-archive`` or ``docker-daemon``.
        name: The place's own name with the tag or digest that was given.
    """

    def __init__(self, transport: str, reference: LocalReference, content: Content, limits: Limits) -> None:
        self.transport = transport
        self.name = reference.name
        self._reference = reference
        self._content = content
        self._limits = limits

    def resolve(self, platform: Platform, known: KnownIndexes | None = None) -> Resolved:
        """Look the reference up; what would have to be read whole is looked up once as long as it does not change."""
        identity = self._identity()
        try:
            found = known.find_manifest(identity, platform) if known and identity else None
            if found:
                return Resolved(found, found)
            resolved = self._resolve(platform)
            self.read_through(resolved.manifest_digest)
        except SifmakeError as error:
            raise self._placed(error) from None
        if known and identity and identity == self._identity() and resolved.digest == resolved.manifest_digest:
            known.remember_manifest(identity, platform, resolved.manifest_digest)
        return resolved

    def image(self, manifest_digest: str) -> Image:
        """Return the image if it still is there."""
        try:
            return self._image(manifest_digest)
        except SifmakeError as error:
            raise self._placed(error) from None

    def document(self, digest: str) -> bytes:
        """Return an index or manifest, if the place keeps any under their digests."""
        try:
            return self._manifest(digest)
        except SifmakeError as error:
            raise self._placed(error) from None

    def read_through(self, manifest_digest: str) -> None:
        """Let the layers of a streamed archive go to the sink, which keeps those of the image."""
        if self._content.streamed:
            self.image(manifest_digest)

    @abstractmethod
    def open_layer(self, layer: Layer) -> AbstractContextManager[BlobReader]:
        """Open a layer's blob."""

    def close(self) -> None:
        """Close the archive."""
        self._content.close()

    @abstractmethod
    def _resolve(self, platform: Platform) -> Resolved:
        """Look the reference up."""

    @abstractmethod
    def _image(self, manifest_digest: str) -> Image:
        """Read manifest and config, and keep the layers."""

    def _manifest(self, digest: str) -> bytes:
        raise SourceError(f"there are no documents by digest, and so no {digest}")

    def _identity(self) -> str:
        """Return a digest that stands for the place's bytes and the chosen image; empty where nothing does."""
        identity = self._content.identity
        if not identity:
            return ""
        text = f"{self.transport} {identity} {self._reference.choice}"
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def _placed(self, error: SifmakeError) -> SifmakeError:
        where = f"{self.transport}:{self._reference.path}{self._reference.choice}"
        return advised(error if error.where.startswith(where) else error.within(where))


def advised(error: SifmakeError) -> SifmakeError:
    """Return an error about a place on this machine with a word on what to do."""
    damaged = isinstance(error, IntegrityError)
    return error.advised("it is damaged or was not copied whole: get it anew" if damaged else "check the path")
