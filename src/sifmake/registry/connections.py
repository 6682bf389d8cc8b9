"""Connections of one transport: answers are bounded, and remote servers cannot redirect to this machine."""

from __future__ import annotations

import base64
import socket
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NameResolutionError, NewConnectionError

from sifmake.registry.dialling import dial
from sifmake.registry.reach import ELSEWHERE, may_lead, place_of
from sifmake.registry.wire import Answer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    import urllib3

    from sifmake.registry.settings import RetryPolicy

_POOLS = 32
"""Most hosts whose connections are kept."""


class ForbiddenPlaceError(OSError):
    """A remote server leads to this machine or its link."""


class ConnectionRules:
    """The rules for the connections of one transport, and the sender for which this thread makes requests."""

    def __init__(self, policy: RetryPolicy) -> None:
        self.policy = policy
        self._local = threading.local()

    @contextmanager
    def on_behalf_of(self, sender: str | None) -> Iterator[None]:
        """Restrict this thread's requests to what a sender may lead to; None means the user, who may lead anywhere."""
        self._local.sender = sender
        try:
            yield
        finally:
            self._local.sender = None

    def check(self, place: str) -> None:
        """Check that the request may go to a place.

        Raises:
            ForbiddenPlaceError: It may not.
        """
        sender: str | None = getattr(self._local, "sender", None)
        if sender is not None and not may_lead(sender, place):
            raise ForbiddenPlaceError(place)


class Bounded(HTTPConnection):
    """A mixin for the library's connections.

    Attributes:
        place: The place to which it leads; ``ELSEWHERE`` behind a proxy.
    """

    rules: ConnectionRules
    place = ELSEWHERE

    def _new_conn(self) -> socket.socket:
        sock = self._dialled()
        if self.proxy is None:
            self.place = place_of(str(sock.getpeername()[0]), str(sock.getsockname()[0]))
            try:
                self.rules.check(self.place)
            except ForbiddenPlaceError:
                sock.close()
                raise
        return sock

    def _dialled(self) -> socket.socket:
        """Connect; raise errors that the library and :mod:`~sifmake.registry.failure` know."""
        host = self._dns_host.strip("[]")
        try:
            host.encode("idna")
        except UnicodeError:
            raise LocationParseError(f"'{host}', label empty or too long") from None
        try:
            return dial(host, self.port, float(self.timeout or 0), self.socket_options or ())
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            what = f"Connection to {self.host} timed out. (connect timeout={self.timeout})"
            raise ConnectTimeoutError(self, what) from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request, even over a connection that was made for another sender."""
        self.rules.check(self.place)
        super().request(*args, **options)


class Adapter(HTTPAdapter):
    """Connections that share one TLS context, with one pool per host."""

    def __init__(self, context: ssl.SSLContext | None, rules: ConnectionRules) -> None:
        self._context = context
        self._rules = rules
        super().__init__(pool_connections=_POOLS, pool_maxsize=16)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools of hosts without a proxy."""
        super().init_poolmanager(*args, ssl_context=self._context, **options)
        _bound(self.poolmanager, self._rules)

    def proxy_manager_for(self, proxy: str, **options: Any) -> urllib3.ProxyManager:
        """Return the pools of hosts behind a proxy."""
        known = proxy in self.proxy_manager
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, ssl_context=self._context, **options)
        if not known:
            _bound(manager, self._rules)
        return manager

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        """Return the header with user and password from the proxy's address, as bytes in any encoding."""
        user, at, _ = urlsplit(proxy).netloc.rpartition("@")
        pair = unquote_to_bytes((user if ":" in user else f"{user}:").encode(errors="surrogateescape"))
        return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"} if at else {}

    def cert_verify(self, *_: Any) -> None:
        """Do nothing, because the context has the certificates; the library would load its own list."""


def _bound(manager: urllib3.PoolManager, rules: ConnectionRules) -> None:
    pools: Mapping[str, Any] = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _bounded_pool(pool, rules) for scheme, pool in pools.items()}


def _bounded_pool(pool: Any, rules: ConnectionRules) -> Any:
    answer = partial(Answer, rules.policy)
    connection = type("Connection", (Bounded, pool.ConnectionCls), {"rules": rules, "response_class": answer})
    return type("Pool", (pool,), {"ConnectionCls": connection})
