"""The common part of OCI layouts and docker archives: several images, of which a reference chooses one."""

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
    from sifmake.sources.content import ArchiveContent


class ArchiveSource(ABC):
    """An image in an archive or folder with named files.

    Attributes:
        transport: ``oci``, ``oci-archive``, ``docker-archive`` or ``docker-daemon``.
        name: Name of the archive or folder, with the given tag or digest.
    """

    def __init__(self, transport: str, reference: LocalReference, content: ArchiveContent, limits: Limits) -> None:
        self.transport = transport
        self.name = reference.name
        self._reference = reference
        self._content = content
        self._limits = limits

    def resolve(self, platform: Platform, known: KnownIndexes | None = None) -> Resolved:
        """Look the reference up; a streamed archive is read again only if it changed."""
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
        """Return the image if it still exists."""
        try:
            return self._image(manifest_digest)
        except SifmakeError as error:
            raise self._placed(error) from None

    def document(self, digest: str) -> bytes:
        """Return an index or manifest by digest, if there is one."""
        try:
            return self._manifest(digest)
        except SifmakeError as error:
            raise self._placed(error) from None

    def read_through(self, manifest_digest: str) -> None:
        """Pass the layers of a streamed archive to the sink, which keeps those of the image."""
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
        raise SourceError(f"this source cannot find documents by digest, among them {digest}")

    def _identity(self) -> str:
        """Return a digest that identifies the archive's bytes and the chosen image; empty if there is none."""
        identity = self._content.identity
        if not identity:
            return ""
        text = f"{self.transport} {identity} {self._reference.choice}"
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def _placed(self, error: SifmakeError) -> SifmakeError:
        where = f"{self.transport}:{self._reference.path}{self._reference.choice}"
        return advised(error if error.where.startswith(where) else error.within(where))


def advised(error: SifmakeError) -> SifmakeError:
    """Add a hint to an error about a local file or folder."""
    damaged = isinstance(error, IntegrityError)
    return error.advised("the file is damaged or incomplete; copy it again" if damaged else "check the path")
