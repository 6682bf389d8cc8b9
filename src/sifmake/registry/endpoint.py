"""One registry host: scheme, authorization, redirects and retries."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sifmake.errors import RegistryError
from sifmake.reference.address import shown_address, whole_address
from sifmake.registry.error_responses import error_from_response
from sifmake.registry.failure import TransportError
from sifmake.registry.proxies import is_loopback
from sifmake.registry.reach import ELSEWHERE, LOOPBACK
from sifmake.registry.repetition import Repetition
from sifmake.registry.retry import RETRIED, RETRIED_HEAD
from sifmake.registry.settings import HostSettings
from sifmake.registry.tokens import Authorizer, refusal
from sifmake.registry.transport import BROKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import BinaryIO

    from sifmake.progress import Progress
    from sifmake.registry.certs_d import HostSettingsLookup
    from sifmake.registry.settings import Credentials, RetryPolicy
    from sifmake.registry.transport import Response, Transport

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 8
_AUTHORISATIONS = 2
"""How often a refused request is made again with new authorization."""
_STRANGE = "check that this is a registry and that no proxy changes its answers"
_LARGEST_REFUSAL = 1 << 16
"""Most bytes of a refusal that are read so that its connection can be reused."""
PROBE_TIMEOUT = 4.0
"""Seconds to find out whether a host on this machine speaks TLS."""


@dataclass(frozen=True)
class RegistryRequest:
    """A request to a registry.

    Attributes:
        method: ``GET``, ``HEAD``, ...
        path: Path with query on the host, or a complete URL on it.
        repository: The repository; the scope of the token.
        headers: Further headers.
        actions: Actions that the token must allow.
        body: Body of an upload: bytes, or a file that can be read again from its start.
    """

    method: str
    path: str
    repository: str
    headers: Mapping[str, str]
    actions: str = "pull"
    body: bytes | BinaryIO | None = None


class Endpoint:
    """A registry host; several threads may use it.

    Attributes:
        host: ``host[:port]`` to which requests go.
    """

    def __init__(
        self,
        host: str,
        settings: HostSettings,
        transport: Transport,
        policy: RetryPolicy,
        progress: Progress,
        find_credentials: Callable[[], Credentials | None],
        *,
        may_be_plain: bool = False,
        others: HostSettingsLookup | None = None,
    ) -> None:
        """Set up a host; nothing is sent yet.

        Args:
            host: ``host[:port]``.
            settings: Its configuration.
            transport: Sends requests.
            policy: When to send again.
            progress: Receives messages about pauses and quotas.
            find_credentials: Called if the registry requires credentials.
            may_be_plain: Whether to use plain HTTP if it does not answer with TLS.
            others: Settings of hosts to which it may redirect.
        """
        self.host = host
        self._settings = settings
        self._others = others
        self._transport = transport
        self._progress = progress
        self._scheme = "http" if settings.plain_http else "https"
        self._probing = may_be_plain and not settings.plain_http
        self._probe_lock = threading.Lock()
        self._place: str | None = None
        self._repetition = Repetition(host, policy, progress)
        self._told_quota = False
        self.authorizer = Authorizer(
            host,
            find_credentials,
            self._send_to_token_service,
            self._check_step,
            lambda: self._scheme == "https",
        )

    def request(self, call: RegistryRequest) -> Response:
        """Send a request, with retries, until there is a final answer; the caller closes it.

        Raises:
            RegistryError: There is no answer, or access is refused.
        """
        return self.with_retries(lambda: self.request_once(call))

    def request_head(self, call: RegistryRequest) -> Response:
        """Send a HEAD without retrying server errors, because a GET will follow if it fails; the caller closes it.

        Raises:
            RegistryError: As for :meth:`request`.
        """
        return self.with_retries(lambda: self.request_once(call), RETRIED_HEAD)

    def request_once(self, call: RegistryRequest) -> Response:
        """Send a request once, and again only to authorize it; for use inside :meth:`with_retries`.

        Raises:
            RegistryError: There is no answer, or access is refused.
        """
        return self._authorised(call)

    def request_expecting(self, call: RegistryRequest, *statuses: int) -> Response:
        """Send a request whose answer must have one of the statuses.

        Raises:
            RegistryError: As for :meth:`request`, or the answer has another status.
        """
        response = self.request(call)
        if response.status in statuses:
            return response
        try:
            raise error_from_response(response, self.host)
        finally:
            response.close()

    def fetch_elsewhere(self, url: str, headers: Mapping[str, str]) -> Response:
        """Get a URL that is not on the registry, without credentials.

        Raises:
            RegistryError: There is no answer.
        """
        return self.with_retries(lambda: self._follow(RegistryRequest("GET", url, "", headers), url, ""))

    def pause(self, attempt: int, seconds: float | None = None) -> None:
        """Wait before an attempt.

        Raises:
            RegistryError: The endpoint was closed meanwhile.
        """
        self._repetition.pause(attempt, seconds)

    @property
    def is_local(self) -> bool:
        """Whether the host can only be this machine."""
        return is_loopback(urlsplit(f"//{self.host}").hostname or "")

    def own_url(self, url: str) -> str:
        """Return a URL that the registry gave; if it is on the same host, with the scheme in use.

        Registries behind a proxy that terminates TLS often call themselves ``http``.

        Raises:
            RegistryError: It leads from TLS to another host without TLS.
        """
        parts = urlsplit(url)
        if parts.netloc.lower() != self.host.lower():
            self._check_step(f"{self._scheme}://{self.host}/", url, "wants uploads sent to")
            return url
        return parts._replace(scheme=self._scheme).geturl()

    def close(self) -> None:
        """End all pauses."""
        self._repetition.close()

    def with_retries(self, attempt_once: Callable[[], Response], retried: Collection[int] = RETRIED) -> Response:
        """Repeat an attempt until there is a final answer; the caller closes it.

        Args:
            attempt_once: Sends a request and returns the answer.
            retried: Statuses that may be temporary.

        Raises:
            RegistryError: As for :meth:`request`.
        """
        return self._repetition.with_retries(attempt_once, retried)

    def _authorised(self, call: RegistryRequest) -> Response:
        for round_ in range(_AUTHORISATIONS + 1):
            header = self.authorizer.header(call.repository, call.actions)
            response = self._to_registry(call, header)
            asked = response.status == 401 and self._is_home(response.url)
            if not asked or round_ == _AUTHORISATIONS or not self._answer(response, header, call):
                break
        if response.status == 401:
            response.close()
            raise refusal(self.host, 401, self.authorizer.credentials)
        self._tell_quota(response)
        return response

    def _answer(self, response: Response, header: str, call: RegistryRequest) -> bool:
        try:
            again = self.authorizer.answer(response, header, call.repository, call.actions)
            if again:
                response.read_all(_LARGEST_REFUSAL)
        except BROKEN:
            again = True
        except BaseException:
            response.close()
            raise
        if again:
            response.close()
        return again

    def _to_registry(self, call: RegistryRequest, authorization: str) -> Response:
        if self._probing:
            with self._probe_lock:
                if self._probing:
                    return self._probe(call, authorization)
        return self._follow(call, self._url(call.path), authorization)

    def _probe(self, call: RegistryRequest, authorization: str) -> Response:
        """Send the first request to a host that may not use TLS: with TLS, then without; remember which one worked."""
        try:
            response = self._follow(call, self._url(call.path), authorization, PROBE_TIMEOUT)
        except TransportError as error:
            if not error.not_tls:
                raise
            self._scheme = "http"
            try:
                response = self._follow(call, self._url(call.path), authorization, PROBE_TIMEOUT)
            except TransportError:
                self._scheme = "https"
                raise
        self._probing = False
        return response

    def _follow(
        self, call: RegistryRequest, url: str, authorization: str, connect_timeout: float | None = None
    ) -> Response:
        """Send one request and follow redirects; secrets are sent to the registry only."""
        sender = ELSEWHERE if self._place is None else self._place
        for _ in range(_MOST_REDIRECTS + 1):
            at_home = self._is_home(url)
            headers = dict(call.headers)
            if authorization and at_home:
                headers["Authorization"] = authorization
            response = self._exchange(call, url, headers, self._place if at_home else sender, connect_timeout)
            target = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not target or call.body is not None:
                return response
            response.close()
            sender = response.place if at_home or response.place == sender else ELSEWHERE
            url = self._redirect(url, target, sender)
        raise RegistryError("the registry redirects in a circle", where=self.host, hint=_STRANGE)

    def _exchange(
        self,
        call: RegistryRequest,
        url: str,
        headers: dict[str, str],
        sender: str | None,
        connect_timeout: float | None,
    ) -> Response:
        at_home = self._is_home(url)
        settings = self._settings if at_home else self._settings_elsewhere(url)
        response = self._transport.exchange(
            call.method, url, headers, settings, body=call.body, connect_timeout=connect_timeout, sender=sender
        )
        if at_home:
            self._repetition.answered()
            self._place = response.place if self._place in (None, response.place) else ELSEWHERE
        return response

    def _redirect(self, url: str, target: str, sender: str) -> str:
        new = whole_address(url, target)
        if not new:
            what = f"the registry redirects to {shown_address(target)[:80]!r}"
            raise RegistryError(what, where=self.host, hint=_STRANGE)
        self._check_step(url, new, "redirects to", sender)
        return new

    def _check_step(self, url: str, new: str, what: str, sender: str | None = None) -> None:
        """Check that one address may lead to another; leaving TLS must be allowed by the settings.

        Raises:
            RegistryError: It may not.
        """
        parts = urlsplit(new)
        if parts.scheme != "http" or not url.startswith("https:") or self._settings.allow_http_redirects:
            return
        sender = self._place if sender is None else sender
        if sender == LOOPBACK and is_loopback(parts.hostname or ""):
            return
        raise RegistryError(
            f"the registry {what} {parts.hostname} without TLS",
            where=self.host,
            hint=f"ask its operator, or set allow-http-redirects: true for {self.host} under registries",
        )

    def _is_home(self, url: str) -> bool:
        """Tell whether a URL is on the registry, with the scheme in use."""
        parts = urlsplit(url)
        return (parts.scheme, parts.netloc.lower()) == (self._scheme, self.host.lower())

    def _url(self, path: str) -> str:
        return path if "://" in path else f"{self._scheme}://{self.host}{path}"

    def _send_to_token_service(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response:
        settings = self._settings_elsewhere(url)
        if settings == HostSettings():  # like the peers, use a registry's CA for its token service, too
            own = self._settings
            settings = HostSettings(more_ca=(*([own.ca_file] if own.ca_file else []), *own.more_ca))
        sender = ELSEWHERE if self._place is None else self._place
        return self.with_retries(
            lambda: self._transport.exchange(method, url, headers, settings, body=body, sender=sender)
        )

    def _settings_elsewhere(self, url: str) -> HostSettings:
        """Return the settings of another host; a registry's CA applies to all ports of its name."""
        parts = urlsplit(url)
        if self._others and self._others.knows(parts.netloc):
            return self._others.of(parts.netloc)
        if parts.hostname == urlsplit(f"//{self.host}").hostname:
            return self._settings._replace(client_cert=None, client_key=None)
        return HostSettings()

    def _tell_quota(self, response: Response) -> None:
        """Report once how many pulls Docker Hub still allows."""
        left = response.headers.get("ratelimit-remaining", "").partition(";")[0]
        if self._told_quota or not left.isdigit():
            return
        self._told_quota = True
        total = response.headers.get("ratelimit-limit", "").partition(";")[0]
        of = f" of {total}" if total.isdigit() else ""
        self._progress.info(f"{self.host}: {left}{of} pulls left")
