"""One HTTP exchange, without redirects, cookies, ``.netrc`` or decoding, with the configured proxies and CAs."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
import urllib3

from sifmake import __version__
from sifmake.registry.connections import Adapter, Bounded, ConnectionRules
from sifmake.registry.failure import TransportError, explain_failure, forbidden
from sifmake.registry.proxies import find_proxy
from sifmake.registry.reach import ELSEWHERE, place_of
from sifmake.registry.settings import DEFAULT_RETRY, HostSettings, RetryPolicy
from sifmake.registry.tls import make_context
from sifmake.registry.wire import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO

BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
"""Errors from reading a body if the connection breaks."""


@dataclass
class Response:
    """An answer whose body has not been read yet. The caller must close it.

    Attributes:
        status: HTTP status code.
        headers: By case-insensitive name.
        url: The requested URL.
        place: The place to which the connection led; see :func:`~sifmake.registry.reach.place_of`.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    place: str
    _response: requests.Response
    _watch: Watch = field(default_factory=lambda: Watch(DEFAULT_RETRY))

    def read(self, size: int) -> bytes:
        """Return up to ``size`` undecoded bytes of the body, waiting for at least one; empty at the end.

        Raises:
            requests.RequestException, urllib3.exceptions.HTTPError, OSError: The connection broke or is too slow
                (``BROKEN``).
        """
        began = time.monotonic()
        data: bytes = self._response.raw.read1(size, decode_content=False)
        self._watch.note(len(data), time.monotonic() - began)
        return data

    def read_all(self, limit: int) -> bytes:
        """Return the complete body, or its first ``limit + 1`` bytes.

        Raises:
            requests.RequestException, urllib3.exceptions.HTTPError, OSError: The connection broke or is too slow.
        """
        parts, left = [], limit + 1
        while left > 0 and (data := self.read(left)):
            parts.append(data)
            left -= len(data)
        return b"".join(parts)

    @property
    def length(self) -> int | None:
        """The announced length of the body in bytes."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    def close(self) -> None:
        """Return the connection to the pool, or drop it if the body was not read to its end.

        Closing drops it even if nothing is left to read, as after a HEAD, so the end is read first.
        """
        raw = self._response.raw
        if raw.length_remaining == 0:
            with suppress(*BROKEN):
                raw.read()
        self._response.close()


class Transport:
    """Pooled connections; several threads may use them."""

    def __init__(self, environ: Mapping[str, str], policy: RetryPolicy = DEFAULT_RETRY) -> None:
        self._environ = environ
        self._policy = policy
        self._rules = ConnectionRules(policy)
        self._adapters: dict[HostSettings | None, Adapter] = {}
        self._lock = threading.Lock()

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        settings: HostSettings,
        *,
        body: bytes | BinaryIO | None = None,
        connect_timeout: float | None = None,
        sender: str | None = None,
    ) -> Response:
        """Send one request and return the answer, with any status.

        Args:
            method: ``GET``, ...
            url: Complete URL.
            headers: Further headers.
            settings: Settings of its host.
            body: Body of an upload.
            connect_timeout: Replaces the policy's limit.
            sender: The place that led to this address; None if a user named the host.

        Raises:
            TransportError: There was no answer.
            RegistryError: A certificate file cannot be used.
        """
        common = {"User-Agent": f"sifmake/{__version__}", "Accept-Encoding": "identity"}
        if body is not None and not isinstance(body, bytes):
            body.seek(0)  # first of all: what is left of it becomes its announced length
        proxy = find_proxy(url, self._environ)
        if proxy and sender is not None and (place := place_of(urlsplit(url).hostname or "")) != ELSEWHERE:
            raise forbidden(url, place)
        adapter = self._adapter(settings if url.startswith("https:") else None)
        try:
            with self._rules.on_behalf_of(sender):
                response = adapter.send(
                    requests.Request(method, url, headers={**common, **headers}, data=body).prepare(),
                    stream=True,
                    timeout=(connect_timeout or self._policy.connect_timeout, self._policy.answer_timeout),
                    proxies={urlsplit(url).scheme: proxy} if proxy else {},
                )
        except (requests.RequestException, urllib3.exceptions.LocationParseError) as error:
            raise explain_failure(error, url, proxy, settings) from None
        except OSError as error:
            raise TransportError(str(error), may_recover=False, reached=False) from None
        connection = response.raw.connection
        place = connection.place if isinstance(connection, Bounded) else ELSEWHERE
        return Response(response.status_code, response.raw.headers, url, place, response, Watch(self._policy))

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for adapter in self._adapters.values():
                adapter.close()

    def _adapter(self, settings: HostSettings | None) -> Adapter:
        """Return the connections to hosts with these settings; None stands for connections without TLS."""
        if settings is not None:
            settings = settings.for_tls
        with self._lock:
            if settings not in self._adapters:
                context = make_context(settings, self._environ) if settings else None
                self._adapters[settings] = Adapter(context, self._rules)
            return self._adapters[settings]
