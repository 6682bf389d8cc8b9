"""Putting blobs and manifests into a registry (OCI distribution spec, "Push")."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from sifmake.errors import RegistryError
from sifmake.oci.digest import digest_bytes
from sifmake.reference.address import whole_address
from sifmake.registry.endpoint import RegistryRequest
from sifmake.registry.error_responses import error_from_response

if TYPE_CHECKING:
    from typing import BinaryIO

    from sifmake.registry.endpoint import Endpoint
    from sifmake.registry.transport import Response

_ACTIONS = "pull,push"

_RULE = "the registry has a rule against it (a quota, tags that cannot change): push another tag, or ask who runs it"
_PUSH_HINTS = {
    403: "is the name right, and are you allowed to push there?",
    404: "is the name right, and are you allowed to push there?",
    405: "it takes no uploads (a mirror or a read-only registry): push to another one",
    409: _RULE,
    412: _RULE,
    413: "the file is too large for the registry or a proxy before it: ask who runs it",
    507: "the registry is full: ask who runs it",
}
"""What to do where a registry refuses an upload (Harbor answers 412 for quotas and immutable tags)."""


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
        """Upload a blob in one piece, from the beginning again if the connection breaks.

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
        """Let a tag stand for a manifest and return its digest.

        Raises:
            RegistryError: The registry refuses it, or understands another digest.
        """
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
        return digest

    def _upload(self, digest: str, size: int, body: bytes | BinaryIO) -> Response:
        """Try once, at a new place: what was begun and broke off, registries do not take for a beginning."""
        response = self._endpoint.request_once(self._call("POST", "blobs/uploads/", {"Content-Length": "0"}))
        if response.status != 202:
            return response
        response.close()
        given = whole_address(response.url, response.headers.get("Location", ""))
        if not given:
            what = "the registry says no place for the upload"
            raise RegistryError(what, where=self._endpoint.host, hint="is this a registry? ask who runs it")
        location = self._endpoint.own_url(given)
        url = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': digest})}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        return self._endpoint.request_once(RegistryRequest("PUT", url, self._repository, headers, _ACTIONS, body))

    def _refused(self, response: Response) -> RegistryError:
        error = error_from_response(response, self._endpoint.host)
        if response.status == 404:
            error.what = error.what.replace("the registry has no such image", "the registry has no place for it")
        error.hint = _PUSH_HINTS.get(response.status, error.hint)
        return error

    def _call(
        self, method: str, what: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> RegistryRequest:
        return RegistryRequest(
            method, f"/v2/{self._repository}/{what}", self._repository, headers or {}, _ACTIONS, body
        )
