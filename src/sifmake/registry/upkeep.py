"""Listing the tags of a repository, and deleting manifests (OCI distribution spec, "Content Discovery", "Deleting")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sifmake.errors import IntegrityError, LimitError, RegistryError
from sifmake.oci.documents import load_json
from sifmake.reference.address import whole_address
from sifmake.registry.endpoint import RegistryRequest
from sifmake.registry.error_responses import NotFoundError, error_from_response
from sifmake.registry.transport import BROKEN

if TYPE_CHECKING:
    from sifmake.registry.mirrors import Mirror
    from sifmake.registry.transport import Response

_PAGE = 1000
_NEXT = re.compile(r"<([^<>\s]{1,4000})>\s*;[^,]*\brel=\"?next\"?")
_DELETE = "delete"
_NOT_ALLOWED = (400, 405, 501)
"""Answers of registries in which deletion is not enabled."""
_WAYS = "use the registry's retention rules, or ask its operator to allow deletion"


class Upkeep:
    """Looks after one repository at the registry that the reference names."""

    def __init__(self, place: Mirror, limit: int) -> None:
        """Set up; nothing is sent yet.

        Args:
            place: The registry.
            limit: Most bytes of all pages of tags together.
        """
        self._place = place
        self._limit = limit

    def tags(self) -> list[str]:
        """Return all tags, each once; none if there is no such repository.

        Raises:
            RegistryError: The registry does not answer, or does not list tags.
            LimitError: There are too many.
        """
        path, left = f"/v2/{self._place.repository}/tags/list?n={_PAGE}", self._limit
        tags: dict[str, None] = {}
        while path:
            try:
                data, path = self._page(path, left)
            except NotFoundError:
                break
            left -= len(data)
            listed = parse_tags(data)
            if path and not listed:
                raise IntegrityError("the registry's list of tags has an empty page", where=self._host)
            tags |= dict.fromkeys(listed)
        return list(tags)

    def delete(self, digest: str) -> bool:
        """Delete a manifest and all tags of it; return whether it was there.

        Raises:
            RegistryError: The registry refuses it.
        """
        place = self._place
        path = f"/v2/{place.repository}/manifests/{digest}"
        response = place.endpoint.request(RegistryRequest("DELETE", path, place.repository, {}, _DELETE))
        try:
            if response.status in (200, 202, 204):
                return True
            if response.status in _NOT_ALLOWED:
                what = f"the registry does not allow to delete manifests (status {response.status})"
                raise RegistryError(what, where=self._host, hint=_WAYS)
            if response.status == 404:
                return False
            raise error_from_response(response, self._host).advised(_WAYS)
        finally:
            response.close()

    @property
    def _host(self) -> str:
        return self._place.endpoint.host

    def _page(self, path: str, left: int) -> tuple[bytes, str]:
        """Return a page of the list, and the path of the next page."""
        place = self._place
        call = RegistryRequest("GET", path, place.repository, {})
        response = place.endpoint.request_expecting(call, 200)
        try:
            data = response.read_all(left)
        except BROKEN as error:
            raise RegistryError(f"the connection broke ({str(error)[:120]})", where=self._host) from None
        finally:
            response.close()
        if len(data) > left:
            raise self._too_many()
        return data, self._next(response)

    def _next(self, response: Response) -> str:
        """Return the path of the next page; empty at the end. It stays in the same list of the same host."""
        match = _NEXT.search(response.headers.get("Link", ""))
        if match is None:
            return ""
        parts = urlsplit(whole_address(response.url, match[1]))
        if parts.path != f"/v2/{self._place.repository}/tags/list":
            raise RegistryError("the list of tags goes on elsewhere", where=self._host)
        return f"{parts.path}?{parts.query}"

    def _too_many(self) -> LimitError:
        hint = "raise remote-listing-bytes (limits: in sifmake.yaml)"
        return LimitError(f"the list of tags has more than {self._limit} bytes", where=self._host, hint=hint)


def parse_tags(data: bytes) -> list[str]:
    """Return the tags in a page of a list of tags.

    Raises:
        IntegrityError: It is not well-formed.
    """
    listed = load_json(data).get("tags") or []
    if not isinstance(listed, list) or not all(isinstance(tag, str) for tag in listed):
        raise IntegrityError("the registry's list of tags is not well-formed")
    return listed
