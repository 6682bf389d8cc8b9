"""``docker://``: an image in a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError, RegistryError, SifmakeError, SourceError
from sifmake.oci import Descriptor, find_manifest, load_image
from sifmake.oci.documents import looks_like_config
from sifmake.registry.client import RegistryClient
from sifmake.registry.settings import ClientSettings
from sifmake.sources.base import Resolved, name_note_key
from sifmake.sources.documents import FetchedDocuments
from sifmake.sources.embedded import open_embedded

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sifmake.oci.model import Image, Layer, Platform
    from sifmake.reference import Reference
    from sifmake.sources.base import BlobReader, KnownIndexes
    from sifmake.sources.settings import SourceSettings

_UNKNOWN_SIZE = -1
_STORED_DAMAGED = "the registry's copy is damaged, or a proxy changes it; push the image again, or check the proxy"


def open_registry_image(reference: Reference, settings: SourceSettings) -> RegistryImage:
    """Return the image's source; no request is made yet."""
    return RegistryImage(reference, settings)


class RegistryImage:
    """An image in a registry. Documents are kept, within a limit, so that none is fetched twice.

    Attributes:
        transport: ``docker``.
        name: The canonical reference.
    """

    transport = "docker"

    def __init__(self, reference: Reference, settings: SourceSettings) -> None:
        self.name = reference.canonical
        self._reference = reference
        self._limits = settings.limits
        self._client = RegistryClient(reference, client_settings(settings))
        self._documents = FetchedDocuments(settings.limits)

    def resolve(self, platform: Platform, known: KnownIndexes | None = None) -> Resolved:
        """Ask the registry: one HEAD if nothing changed, no request for a known digest."""
        try:
            digest = self._reference.digest or self._look_up(platform, known)
            manifest_digest = known.find_manifest(digest, platform) if known else None
            if manifest_digest is None:
                manifest_digest = self._find(digest, platform)
                if known:
                    known.remember_manifest(digest, platform, manifest_digest)
        except SifmakeError as error:
            raise self._placed(error) from None
        return Resolved(digest, manifest_digest)

    def image(self, manifest_digest: str) -> Image:
        """Fetch manifest and config, unless they are kept."""
        try:
            return load_image(Descriptor("", manifest_digest, _UNKNOWN_SIZE), self, self._limits)
        except SifmakeError as error:
            raise self._placed(error) from None

    def document(self, digest: str) -> bytes:
        """Fetch an index or manifest by its digest, unless it is kept."""
        try:
            return self.manifest(Descriptor("", digest, _UNKNOWN_SIZE))
        except SifmakeError as error:
            raise self._placed(error) from None

    def read_through(self, manifest_digest: str) -> None:
        """Do nothing, because layers can be opened one by one."""

    def open_layer(self, layer: Layer) -> AbstractContextManager[BlobReader]:
        """Open a layer's blob."""
        return open_embedded(layer) or self._client.open_blob(layer.descriptor)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def manifest(self, descriptor: Descriptor) -> bytes:
        """Return a checked index or manifest."""
        return self._kept(descriptor, lambda: self._client.manifest(descriptor.digest, descriptor.digest)[0])

    def blob(self, descriptor: Descriptor) -> bytes:
        """Return a checked config."""
        return self._kept(descriptor, lambda: self._client.blob(descriptor, self._limits.config_bytes))

    def _placed(self, error: SifmakeError) -> SifmakeError:
        error = error.within(f"docker://{self._reference.familiar}")
        return error.advised(_STORED_DAMAGED) if isinstance(error, IntegrityError) else error

    def _look_up(self, platform: Platform, known: KnownIndexes | None) -> str:
        """Return the digest to which the tag points; with a GET if a HEAD would not save one."""
        mark = name_note_key(self.name)
        met = known is not None and known.find_manifest(mark, platform) is not None
        if met:
            head = self._client.head(self._reference.tag)
            data, digest = head.document, head.digest
        else:
            data, digest = self._client.manifest(self._reference.tag)
        if data:
            self._documents.put(digest, data)
        if known:
            known.remember_manifest(mark, platform, digest)
        return digest

    def _find(self, digest: str, platform: Platform) -> str:
        root = Descriptor("", digest, _UNKNOWN_SIZE)
        try:
            return find_manifest(root, platform, self, self._limits).digest
        except RegistryError:
            if self._documents.get(digest) is not None or digest != self._reference.digest:
                raise
            self._explain_pin(digest)
            raise

    def _explain_pin(self, digest: str) -> None:
        """Raise a better error if a reference is pinned to a digest that is not that of a manifest."""
        data = self._client.peek_blob(digest, self._limits.config_bytes)
        if data is not None and looks_like_config(data):
            raise SourceError(
                "this digest is of the image config (the image ID that docker images shows), not of a manifest",
                hint="use the manifest's digest, as shown by `docker images --digests`",
            )

    def _kept(self, descriptor: Descriptor, fetch: Callable[[], bytes]) -> bytes:
        if descriptor.data is not None:
            return descriptor.data
        data = self._documents.get(descriptor.digest)
        if data is None:
            data = fetch()
            self._documents.put(descriptor.digest, data)
        return data


def client_settings(settings: SourceSettings) -> ClientSettings:
    """Return what a registry client needs of the settings."""
    return ClientSettings(
        settings.limits,
        settings.registries,
        settings.credential_store(),
        settings.no_https,
        settings.environ,
        settings.progress,
        settings.policy,
        settings.shared,
    )
