"""One HTTP exchange: no redirects, no cookies, no ``.netrc``, bytes as they come, proxies and CAs as configured."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from sifmake import __version__
from sifmake.errors import RegistryError
from sifmake.reference.address import whole_address
from sifmake.registry.proxies import find_proxy
from sifmake.registry.settings import DEFAULT_RETRY, HostSettings, RetryPolicy
from sifmake.registry.tls import make_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from typing import Any, BinaryIO

_OBJECT = re.compile(r"^(?:<[^>]*>|\w+\(.*?\)): ")
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
"""What reading a body raises when the connection breaks."""


class StalledError(OSError):
    """A transfer is so slow that it counts as broken."""


class Watch:
    """Notices a transfer that trickles. Only time spent waiting for the network counts, not the consumer's own."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._seconds = 0.0
        self._bytes = 0

    def note(self, count: int, seconds: float) -> None:
        """Count what came in a time.

        Raises:
            StalledError: It was too little.
        """
        self._seconds += seconds
        self._bytes += count
        if self._seconds < self._policy.stall_time:
            return
        if self._bytes < self._policy.stall_bytes:
            raise StalledError(f"{self._bytes} bytes in {self._seconds:.0f} s")
        self._seconds, self._bytes = 0.0, 0


class TransportError(RegistryError):
    """No answer came.

    Attributes:
        may_recover: Whether a further try makes sense.
        reached: Whether something listens there.
        not_tls: Whether the other side may speak plain HTTP.
    """

    def __init__(self, what: str, *, hint: str = "", may_recover: bool, reached: bool, not_tls: bool = False) -> None:
        super().__init__(what, hint=hint)
        self.may_recover = may_recover
        self.reached = reached
        self.not_tls = not_tls


@dataclass
class Response:
    """An answer whose body is still to be read. Close it.

    Attributes:
        status: HTTP status code.
        headers: By name, whatever the case.
        url: What was asked.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    _response: requests.Response
    _policy: RetryPolicy = DEFAULT_RETRY

    def read(self, size: int) -> bytes:
        """Return what has come of the body, up to ``size`` bytes, undecoded; wait for some; empty at the end.

        Raises:
            requests.RequestException, urllib3.exceptions.HTTPError, OSError: The connection broke (``BROKEN``).
        """
        data: bytes = self._response.raw.read1(size, decode_content=False)
        return data

    def read_all(self, limit: int) -> bytes:
        """Return the whole body, or its first ``limit + 1`` bytes.

        Raises:
            requests.RequestException, urllib3.exceptions.HTTPError, OSError: The connection broke or trickles.
        """
        parts, left, watch = [], limit + 1, Watch(self._policy)
        began = time.monotonic()
        while left > 0 and (data := self.read(left)):
            parts.append(data)
            left -= len(data)
            now = time.monotonic()
            watch.note(len(data), now - began)
            began = now
        return b"".join(parts)

    @property
    def length(self) -> int | None:
        """The announced length of the body in bytes."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    def close(self) -> None:
        """Give the connection back, or drop it when the body was not read to its end."""
        self._response.close()


class _Adapter(HTTPAdapter):
    """Connections that share one idea of whom to trust."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        super().__init__(pool_connections=8, pool_maxsize=16)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, ssl_context=self._context, **options)
        return manager

    def cert_verify(self, *_: Any) -> None:
        """The context knows already; the library would load a list of its own."""


class Transport:
    """Pooled connections; may be used by several threads."""

    def __init__(self, environ: Mapping[str, str], policy: RetryPolicy = DEFAULT_RETRY) -> None:
        self._environ = environ
        self._policy = policy
        self._adapters: dict[HostSettings | None, _Adapter] = {}
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
    ) -> Response:
        """Send one request and return the answer, whatever its status.

        Raises:
            TransportError: No answer came.
            RegistryError: A certificate's file cannot be used.
        """
        common = {"User-Agent": f"sifmake/{__version__}", "Accept-Encoding": "identity"}
        if body is not None and not isinstance(body, bytes):
            body.seek(0)  # first of all: what is left of it becomes its announced length
        proxy = find_proxy(url, self._environ)
        adapter = self._adapter(settings if url.startswith("https:") else None)
        try:
            response = adapter.send(
                requests.Request(method, url, headers={**common, **headers}, data=body).prepare(),
                stream=True,
                timeout=(connect_timeout or self._policy.connect_timeout, self._policy.read_timeout),
                proxies={urlsplit(url).scheme: proxy} if proxy else {},
            )
        except (requests.RequestException, urllib3.exceptions.LocationParseError) as error:
            raise _explain(error, url, proxy, settings) from None
        except OSError as error:
            raise TransportError(str(error), may_recover=False, reached=False) from None
        return Response(response.status_code, response.raw.headers, url, response, self._policy)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for adapter in self._adapters.values():
                adapter.close()

    def _adapter(self, settings: HostSettings | None) -> _Adapter:
        """Return the connections to hosts with these settings; None stands for connections without TLS."""
        with self._lock:
            if settings not in self._adapters:
                self._adapters[settings] = _Adapter(make_context(settings, self._environ) if settings else None)
            return self._adapters[settings]


def _explain(error: Exception, url: str, proxy: str | None, settings: HostSettings) -> TransportError:
    host = urlsplit(url).netloc
    text = _innermost(error)
    if isinstance(error, (requests.exceptions.InvalidURL, urllib3.exceptions.LocationParseError)):
        what, hint = f"{url[:80]!r} is no address that can be asked ({text[:80]})", "where does it come from?"
        if proxy and not whole_address("", f"http:{proxy.partition(':')[2]}"):
            what, hint = f"the proxy {_without_user(proxy)!r} is no address", "write http://PROXY:PORT in HTTPS_PROXY"
        return TransportError(what, hint=hint, may_recover=False, reached=False)
    if isinstance(error, requests.exceptions.ProxyError):
        return TransportError(
            f"the proxy {_without_user(proxy or '')} does not lead to {host} ({text})",
            hint="look at HTTPS_PROXY, or name the host in NO_PROXY",
            may_recover=True,
            reached=False,
        )
    if isinstance(error, requests.exceptions.SSLError):
        return _explain_tls(text, host, settings)
    if isinstance(error, requests.Timeout):
        return TransportError(f"{host} does not answer ({text})", may_recover=True, reached=False, not_tls=True)
    if isinstance(error, requests.exceptions.InvalidSchema):
        return TransportError(
            f"the proxy {_without_user(proxy or '')} cannot be used ({text})",
            hint="name an http:// proxy in HTTPS_PROXY, or install PySocks for socks5://",
            may_recover=False,
            reached=False,
        )
    unreachable = "refused" in text or "resolve" in text or "Name or service" in text or "unreachable" in text
    hint = "is the registry's name right, and does the machine have a network?" if unreachable else ""
    broken = isinstance(error, requests.ConnectionError)
    return TransportError(
        f"cannot reach {host} ({text})", hint=hint, may_recover=broken, reached=not unreachable, not_tls=not unreachable
    )


def _explain_tls(text: str, host: str, settings: HostSettings) -> TransportError:
    if "CERTIFICATE_VERIFY_FAILED" in text or "doesn't match" in text:
        hint = "is the CA file right?" if settings.ca_file else "name the CA under registries: HOST: ca-file:"
        return TransportError(
            f"the certificate of {host} is not trusted ({text})", hint=hint, may_recover=False, reached=True
        )
    if "ALERT" in text.upper():
        hint = "does it want a client certificate? name one under registries: HOST: client-cert:"
        return TransportError(f"{host} refuses the TLS connection ({text})", hint=hint, may_recover=False, reached=True)
    hint = "use --no-https, or set plain-http for the host, if it has no TLS"
    return TransportError(
        f"{host} does not speak TLS ({text})", hint=hint, may_recover=True, reached=True, not_tls=True
    )


def _innermost(error: BaseException) -> str:
    """Return the cause's own words, without the objects that the HTTP library wraps around them."""
    reason: BaseException = error
    for _ in range(8):
        inner = getattr(reason, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in reason.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        reason = inner
    text = str(reason.args[-1] if reason.args else reason)
    return _OBJECT.sub("", text) or type(reason).__name__


def _without_user(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://{tail}" if at else url
