"""Writing packs to a repository: the blobs first, then the manifest, so that a manifest never lacks one."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from sifmake.errors import IntegrityError, RegistryError
from sifmake.oci.digest import digest_bytes
from sifmake.oci.media_types import OCI_MANIFEST
from sifmake.oci.model import Descriptor
from sifmake.registry.client import RegistryClient
from sifmake.registry.error_responses import NotFoundError
from sifmake.remote.pack_manifest import DSSE, EMPTY, annotations_of, name_of, read_manifest, write_manifest
from sifmake.remote.place import place_settings
from sifmake.sources.registry_image import client_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sifmake.remote.settings import RemoteSettings
    from sifmake.sources.settings import SourceSettings


class PackUploads:
    """Writes one repository."""

    def __init__(self, remote: RemoteSettings, settings: SourceSettings) -> None:
        """Set up; no request is made yet.

        Raises:
            ConfigError: The address is malformed.
        """
        place = place_settings(settings, uploading=True)
        self._client = RegistryClient(remote.repository, client_settings(place))
        self._uploader = self._client.uploader()

    def put(self, kind: str, key: str, file: BinaryIO, blob: Descriptor, statement: bytes = b"") -> bool:
        """Upload a file of a store; return whether the registry lacked it.

        Args:
            kind: Its folder in a store.
            key: Its key.
            file: The file, open for reading.
            blob: Its digest and size.
            statement: The signed statement about it; may be empty.

        Raises:
            RegistryError: The registry refuses it.
        """
        artifact_type, tag = name_of(kind, key)
        blobs = [Descriptor(artifact_type, blob.digest, blob.size)]
        if statement:
            blobs.append(Descriptor(DSSE, digest_bytes(statement), len(statement)))
        if self._is_there(tag, artifact_type, blobs):
            return False
        forms = [write_manifest(blobs, artifact_type, annotations_of(key), plain=plain) for plain in (False, True)]
        self._put_blob(blob.digest, blob.size, file)
        for data in (EMPTY, *([statement] if statement else [])):
            self._put_blob(digest_bytes(data), len(data), data)
        try:
            self._uploader.put_manifest(tag, forms[0], OCI_MANIFEST)
        except RegistryError:
            self._uploader.put_manifest(tag, forms[1], OCI_MANIFEST)
        return True

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _is_there(self, tag: str, artifact_type: str, blobs: Sequence[Descriptor]) -> bool:
        """Tell whether a tag has these blobs; a signed pack is not replaced by the same one without a signature."""
        try:
            found = read_manifest(self._client.manifest(tag)[0], artifact_type)
        except (NotFoundError, IntegrityError):
            return False
        there = [found.pack.digest, *([found.statement.digest] if found.statement else [])]
        return there[: len(blobs)] == [blob.digest for blob in blobs]

    def _put_blob(self, digest: str, size: int, data: bytes | BinaryIO) -> None:
        if not self._uploader.has_blob(digest):
            self._uploader.put_blob(digest, size, data)
