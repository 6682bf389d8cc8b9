"""Uploading blobs and manifests to a registry (OCI distribution spec, "Push")."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from sifmake.errors import RegistryError
from sifmake.oci.digest import digest_bytes
from sifmake.reference.address import whole_address
from sifmake.registry.endpoint import RegistryRequest
from sifmake.registry.error_responses import error_from_response

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

    from sifmake.registry.endpoint import Endpoint
    from sifmake.registry.transport import Response

_ACTIONS = "pull,push"

_RULE = "a rule of the registry forbids it (quota, immutable tag); push another tag, or ask its operator"
_PUSH_HINTS = {
    403: "check the name, and that you may push there",
    404: "check the name, and that you may push there",
    405: "push to another registry: this one accepts no uploads (a mirror, or read-only)",
    409: _RULE,
    412: _RULE,
    413: "ask the operator to allow larger files in the registry or its proxy",
    507: "ask the operator to make room: the registry is full",
}
"""Hints by status if a registry refuses an upload (Harbor answers 412 for quotas and immutable tags)."""


class Uploader:
    """Writes one repository."""

    def __init__(self, endpoint: Endpoint, repository: str) -> None:
        self._endpoint = endpoint
        self._repository = repository

    def has_blob(self, digest: str) -> bool:
        """Tell whether the repository has a blob."""
        response = self._endpoint.request_head(self._call("HEAD", f"blobs/{digest}"))
        response.close()
        return response.status == 200

    def put_blob(self, digest: str, size: int, body: bytes | BinaryIO) -> None:
        """Upload a blob in one piece; start again if the connection breaks.

        Raises:
            RegistryError: The registry refuses it.
        """
        response = self._endpoint.with_retries(lambda: self._upload(digest, size, body))
        try:
            if response.status not in (201, 204):
                raise self._refused(response)
        finally:
            response.close()

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> str:
        """Upload a manifest under a tag and return its digest.

        Raises:
            RegistryError: The registry refuses it, or computes another digest.
        """
        self._put_manifest(reference, data, media_type)
        return digest_bytes(data)

    def put_referrer(self, data: bytes, media_type: str) -> tuple[str, bool]:
        """Upload a manifest with a subject under its digest; return the digest, and whether the registry lists it.

        A registry that lists referrers says so with ``OCI-Subject`` (OCI distribution spec 1.1, "Push").

        Raises:
            RegistryError: As for :meth:`put_manifest`.
        """
        digest = digest_bytes(data)
        return digest, "OCI-Subject" in self._put_manifest(digest, data, media_type)

    def _put_manifest(self, reference: str, data: bytes, media_type: str) -> Mapping[str, str]:
        call = self._call("PUT", f"manifests/{reference}", {"Content-Type": media_type}, data)
        response = self._endpoint.request(call)
        try:
            if response.status not in (200, 201, 202):
                raise self._refused(response)
        finally:
            response.close()
        digest = digest_bytes(data)
        answered = response.headers.get("Docker-Content-Digest", digest)
        if answered != digest:
            raise RegistryError(f"the registry stored {answered} instead of {digest}", where=self._endpoint.host)
        return response.headers

    def _upload(self, digest: str, size: int, body: bytes | BinaryIO) -> Response:
        """Make one attempt with a new upload URL, because registries cannot continue an interrupted upload."""
        response = self._endpoint.request_once(self._call("POST", "blobs/uploads/", {"Content-Length": "0"}))
        if response.status != 202:
            return response
        response.close()
        given = whole_address(response.url, response.headers.get("Location", ""))
        if not given:
            what = "the registry gave no URL for the upload"
            raise RegistryError(what, where=self._endpoint.host, hint="check that this is a registry")
        location = self._endpoint.own_url(given)
        url = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': digest})}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        return self._endpoint.request_once(RegistryRequest("PUT", url, self._repository, headers, _ACTIONS, body))

    def _refused(self, response: Response) -> RegistryError:
        error = error_from_response(response, self._endpoint.host)
        if response.status == 404:
            error.what = error.what.replace("the registry has no such image", "the registry has no such repository")
        error.hint = _PUSH_HINTS.get(response.status, error.hint)
        return error

    def _call(
        self, method: str, what: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> RegistryRequest:
        return RegistryRequest(
            method, f"/v2/{self._repository}/{what}", self._repository, headers or {}, _ACTIONS, body
        )
