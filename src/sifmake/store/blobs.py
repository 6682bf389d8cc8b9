"""Blobs of a store by digest (manifests, indexes, configs), and notes on which manifest each index gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import StoreError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.store.naming import blob_spot, check_digest_form, has_digest, index_spot, is_digest

if TYPE_CHECKING:
    from sifmake.oci.model import Platform
    from sifmake.progress import Progress
    from sifmake.store.stored_files import StoredFiles

_LARGEST = max(DEFAULT_LIMITS.config_bytes, DEFAULT_LIMITS.manifest_bytes)
_LARGEST_NOTE = 256


class StoredBlobs:
    """Small blobs, which are checked against their digests when they are read, and notes on indexes."""

    def __init__(self, files: StoredFiles, progress: Progress) -> None:
        self._files = files
        self._progress = progress

    def get(self, digest: str) -> bytes | None:
        """Return a small blob (manifest, index, config), or None; a damaged one is removed and counts as missing."""
        spot = blob_spot(digest)
        for root in self._files.roots:
            # The owner does not matter, because the digest proves the content.
            data = self._files.read(root, spot, _LARGEST, anyone=True)
            if data is None:
                continue
            if has_digest(data, digest):
                return data
            self._progress.warning(f"the blob {digest} in the store {root.path} is damaged and is not used")
            if root is self._files.own:
                self._files.remove(spot)
        return None

    def put(self, digest: str, data: bytes) -> None:
        """Keep a small blob; if the store cannot be written, only warn.

        Raises:
            StoreError: The data does not have that digest.
        """
        if not has_digest(data, digest):
            raise StoreError("the data does not have the digest", where=digest)
        self._files.keep(blob_spot(digest), data)

    def find_manifest(self, index_digest: str, platform: Platform) -> str | None:
        """Return the manifest that an index gave for a platform; None if there is no note."""
        spot = index_spot(index_digest, platform)
        for root in self._files.roots:
            data = self._files.read(root, spot, _LARGEST_NOTE)
            text = data.decode("ascii", "replace").strip() if data else ""
            if is_digest(text):
                return text
        return None

    def remember_manifest(self, index_digest: str, platform: Platform, manifest_digest: str) -> None:
        """Keep a note on which manifest an index gives for a platform; it stays true because digests do not change."""
        check_digest_form(manifest_digest)
        self._files.keep(index_spot(index_digest, platform), f"{manifest_digest}\n".encode())
