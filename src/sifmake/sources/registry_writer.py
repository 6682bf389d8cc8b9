"""Write images into a registry (OCI distribution spec, "Push")."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from sifmake.oci.digest import digest_bytes
from sifmake.registry.client import RegistryClient
from sifmake.sources.registry_image import client_settings

if TYPE_CHECKING:
    from sifmake.oci.given_back import NewManifest
    from sifmake.reference import Reference
    from sifmake.sources.settings import SourceSettings


class RegistryWriter:
    """Writes one image into a repository; close it after use.

    Attributes:
        name: The reference, for messages.
    """

    def __init__(self, reference: Reference, settings: SourceSettings) -> None:
        self.name = f"docker://{reference.familiar}"
        self._tag = reference.tag
        self._progress = settings.progress
        self._client = RegistryClient(reference, client_settings(settings))
        self._uploader = self._client.uploader()

    def has_blob(self, digest: str, _size: int) -> bool:
        """Tell whether the repository has a blob."""
        return self._uploader.has_blob(digest)

    def put_blob(self, digest: str, size: int, file: BinaryIO) -> None:
        """Upload a blob from an open file, unless the repository has it.

        Raises:
            RegistryError: The registry refuses it.
        """
        if self._uploader.has_blob(digest):
            return
        file.seek(0)
        self._uploader.put_blob(digest, size, file)

    def put_config(self, digest: str, data: bytes) -> None:
        """Upload the config, unless the repository has it; raises like :meth:`put_blob`."""
        if not self._uploader.has_blob(digest):
            self._uploader.put_blob(digest, len(data), data)

    def put_manifest(self, manifest: NewManifest) -> str:
        """Upload the manifest and return its digest; raises like :meth:`put_blob`."""
        tag = self._tag or digest_bytes(manifest.data)
        return self._uploader.put_manifest(tag, manifest.data, manifest.media_type)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
