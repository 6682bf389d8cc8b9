"""Artifacts that refer to a manifest: found by the referrers API, else by the fallback tag (OCI distribution spec 1.1).

An image does not need any of this, so each request is sent once, without the pauses and retries of a download.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sifmake.errors import IntegrityError, LimitError, RegistryError, SourceError
from sifmake.oci.digest import check_bytes
from sifmake.oci.documents import load_json, parse_index
from sifmake.oci.media_types import ACCEPT, OCI_INDEX, OCI_MANIFEST
from sifmake.registry.endpoint import RegistryRequest
from sifmake.registry.error_responses import NotFoundError, error_from_response
from sifmake.registry.transport import BROKEN

if TYPE_CHECKING:
    from sifmake.oci.model import Descriptor
    from sifmake.registry.mirrors import Mirror
    from sifmake.registry.upload import Uploader


class Referrers:
    """Artifacts that refer to the manifests of one repository, at one server."""

    def __init__(self, place: Mirror, limit: int) -> None:
        """Set up; nothing is sent yet.

        Args:
            place: The registry or a mirror.
            limit: Most bytes of a manifest or index.
        """
        self._place = place
        self._limit = limit

    def find(self, subject: str, artifact_type: str) -> list[Descriptor]:
        """Return the manifests of a type that refer to a manifest; empty if there are none, or if that is unknown.

        Args:
            subject: Digest of the manifest.
            artifact_type: Type of the artifacts.
        """
        query = urlencode({"artifactType": artifact_type})
        for path in (f"referrers/{subject}?{query}", f"manifests/{_fallback_tag(subject)}"):
            try:
                index = parse_index(load_json(self._get(path, self._limit)))
            except SourceError:
                continue
            return [item for item in index.entries if item.artifact_type == artifact_type]
        return []

    def manifest(self, descriptor: Descriptor) -> dict[str, Any]:
        """Return a manifest, checked against its digest.

        Raises:
            SourceError: It is not available or not well-formed.
        """
        data = self._get(f"manifests/{descriptor.digest}", self._limit)
        return load_json(check_bytes(data, descriptor.digest, descriptor.size))

    def blob(self, descriptor: Descriptor, limit: int) -> bytes:
        """Return a small blob, checked against its digest.

        Raises:
            SourceError: It is not available, or too large.
        """
        data = self._get(f"blobs/{descriptor.digest}", min(limit, descriptor.size))
        return check_bytes(data, descriptor.digest, descriptor.size)

    def add(self, uploader: Uploader, manifest: bytes, subject: str, artifact_type: str) -> None:
        """Upload a manifest that refers to another one; without a referrers API, update the fallback tag.

        Args:
            uploader: Writes to the same repository.
            manifest: The manifest; its blobs were uploaded before.
            subject: Digest of the manifest to which it refers.
            artifact_type: Its type.

        Raises:
            RegistryError: The registry refuses it.
            IntegrityError: The document under the fallback tag is not a list.
        """
        digest, listed = uploader.put_referrer(manifest, OCI_MANIFEST)
        if listed:
            return
        tag = _fallback_tag(subject)
        index = self._listed(tag)
        entries = index.setdefault("manifests", [])
        if any(isinstance(entry, dict) and entry.get("digest") == digest for entry in entries):
            return
        entry = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(manifest), "artifactType": artifact_type}
        entries.append(entry)
        uploader.put_manifest(tag, json.dumps(index, separators=(",", ":")).encode(), OCI_INDEX)

    def _listed(self, tag: str) -> dict[str, Any]:
        """Return the index of a fallback tag; a new index if there is none."""
        try:
            index = load_json(self._get(f"manifests/{tag}", self._limit))
        except NotFoundError:
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        if not isinstance(index.get("manifests"), list):
            raise IntegrityError("this is not an index", where=tag)
        return index

    def _get(self, path: str, limit: int) -> bytes:
        """Return a document; the caller checks its digest."""
        place = self._place
        headers = {} if path.startswith("blobs/") else {"Accept": ACCEPT}
        call = RegistryRequest("GET", f"/v2/{place.repository}/{path}", place.repository, headers)
        response = place.endpoint.request_once(call)
        try:
            if response.status != 200:
                raise error_from_response(response, place.endpoint.host)
            data = response.read_all(limit)
        except BROKEN as error:
            raise RegistryError(f"the connection broke ({str(error)[:120]})", where=place.endpoint.host) from None
        finally:
            response.close()
        if len(data) > limit:
            raise LimitError(f"the document has more than {limit} bytes", where=place.endpoint.host)
        return data


def _fallback_tag(subject: str) -> str:
    """Return the tag of the list of referrers: algorithm and digest, cut to the length of a tag."""
    algorithm, _, encoded = subject.partition(":")
    return f"{algorithm}-{encoded[:64]}"
