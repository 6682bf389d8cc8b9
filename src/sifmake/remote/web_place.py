"""Packs on a web server: the folder of a store, served as it is (plain HTTP, S3 or any object store)."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sifmake.errors import ConfigError, IntegrityError, LimitError, RegistryError
from sifmake.reference.address import shown_address
from sifmake.registry.error_responses import NotFoundError, error_from_response
from sifmake.registry.proxies import is_loopback
from sifmake.registry.transport import BROKEN
from sifmake.remote.place import Body, Offer, check_size, place_settings
from sifmake.sources.web_server import WebServer
from sifmake.store.naming import BLOBS, blob_spot, key_spot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.registry.transport import Response
    from sifmake.remote.settings import RemoteSettings
    from sifmake.sources.settings import SourceSettings

_MISSING = (403, 404, 410)
"""Answers for a file that is not there; object stores answer 403 to those who may not list the folder."""
_STATEMENT_SUFFIX = ".dsse"


class WebPlace:
    """A folder on a web server."""

    def __init__(self, remote: RemoteSettings, settings: SourceSettings) -> None:
        """Set up; no request is made yet.

        Raises:
            ConfigError: The address has no TLS, and the host's settings do not allow that.
        """
        parts = urlsplit(remote.uri)
        host = settings.registries.get(parts.netloc)
        if parts.scheme == "http" and not is_loopback(parts.hostname or "") and not (host and host.plain_http):
            hint = f"write https://, or set plain-http: true for {parts.netloc} under registries"
            raise ConfigError("packs are fetched by https only", where=remote.uri, hint=hint)
        self._url = remote.uri.rstrip("/")
        self._limit = settings.limits.remote_document_bytes
        self._server = WebServer(remote.uri, place_settings(settings))

    def find(self, kind: str, key: str) -> Offer:
        """Return a file that may be there, because opening it takes no more requests than asking for it."""
        spot = blob_spot(key) if kind == BLOBS else key_spot(kind, key)
        url = "/".join((self._url, *spot.folders, spot.name))
        return Offer(partial(self._open, url), partial(self._statement, url + _STATEMENT_SUFFIX))

    def list_keys(self) -> list[str]:
        """Return nothing, because web servers list nothing."""
        return []

    def close(self) -> None:
        """Close all connections."""
        self._server.close()

    @contextmanager
    def _open(self, url: str, most: int) -> Iterator[Body]:
        first = self._get(url)
        try:
            if first.length is None:
                raise IntegrityError("the server does not say how large the file is", where=shown_address(url))
            check_size(first.length, most)
            reader = self._server.reader(url, first, first.length)
            try:
                yield Body(first.length, reader.read)
            finally:
                reader.close()
        finally:
            first.close()

    def _statement(self, url: str) -> bytes:
        response = self._get(url)
        try:
            data = response.read_all(self._limit)
        except BROKEN as error:
            raise RegistryError(f"the connection broke ({str(error)[:120]})", where=shown_address(url)) from None
        finally:
            response.close()
        if len(data) > self._limit:
            raise LimitError(f"the file has more than {self._limit} bytes", where=shown_address(url))
        return data

    def _get(self, url: str) -> Response:
        response = self._server.get(url, {})
        if response.status == 200:
            return response
        try:
            if response.status in _MISSING:
                raise NotFoundError("the server has no such file", where=shown_address(url))
            error = error_from_response(response, self._server.endpoint.host)
        finally:
            response.close()
        error.what = error.what.replace("the registry", "the server")
        raise error
