"""A web server with files: basic authorization only, credentials for it only, transfers that are resumed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sifmake.registry.blob_reader import RangedReader
from sifmake.registry.endpoint import Endpoint, RegistryRequest
from sifmake.registry.mirrors import BlobRoute, Step
from sifmake.registry.proxies import is_loopback
from sifmake.registry.settings import HostSettings
from sifmake.registry.shared import Connections

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.registry.settings import Credentials
    from sifmake.registry.transport import Response
    from sifmake.sources.settings import SourceSettings


class WebServer:
    """One web server.

    Attributes:
        endpoint: Sends requests to it.
    """

    def __init__(self, url: str, settings: SourceSettings) -> None:
        """Set up; no request is made yet.

        Args:
            url: Address of a file or folder on it; decides which credentials are used.
            settings: Settings of the host, credentials, limits.
        """
        parts = urlsplit(url)
        self._url = url
        self._settings = settings
        self._own = Connections()
        transport = (settings.shared or self._own).transport(settings.environ, settings.policy)
        configured = settings.registries.get(parts.netloc, HostSettings())
        host_settings = configured._replace(plain_http=parts.scheme == "http")
        self.endpoint = Endpoint(
            parts.netloc, host_settings, transport, settings.policy, settings.progress, self._credentials
        )
        # A web server must not name another server for the password.
        self.endpoint.authorizer.schemes = frozenset({"basic"})

    def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """Request a file on the server and return the answer, with any status.

        Raises:
            RegistryError: There is no answer.
        """
        return self.endpoint.request(RegistryRequest("GET", url, "", headers))

    def reader(self, url: str, first: Response, size: int) -> RangedReader:
        """Return a reader of a file that begins with an answer, and continues after an interruption.

        Args:
            url: Address of the file.
            first: The answer, with status 200.
            size: Bytes of the file.
        """
        way = BlobRoute([Step(self.endpoint, partial(self.get, url))], lambda *_: None, repeats=False)
        reader = RangedReader(way, size, self._settings.policy)
        reader.take(first)
        return reader

    def close(self) -> None:
        """Close all connections."""
        self.endpoint.close()
        self._own.close()

    def _credentials(self) -> Credentials | None:
        """Return the credentials for the server; none without TLS, unless it is this machine."""
        parts = urlsplit(self._url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            return None
        store = self._settings.credential_store()
        return store.find(parts.netloc, unquote(parts.path).strip("/"))
