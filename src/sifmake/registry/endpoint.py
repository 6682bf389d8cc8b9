"""One registry host: scheme, authorisation, redirects and repetition of requests."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
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
"""Times that a refused request is made again with fresh authorisation."""
_STRANGE = "is this a registry, and is there a proxy in between? ask who runs it"
_LARGEST_REFUSAL = 1 << 16
"""Bytes of a refusal that are read so that its connection can be used again."""
PROBE_TIMEOUT = 4.0
"""Seconds to find out whether a host on this machine speaks TLS."""


@dataclass(frozen=True)
class RegistryRequest:
    """A request to a registry.

    Attributes:
        method: ``GET``, ``HEAD``, ...
        path: Path with query under the host, or a whole URL on it.
        repository: What it is about; the scope of the token.
        headers: Further headers.
        actions: What the token must allow.
        body: Of an upload: bytes, or a file that can be read again from its start.
    """

    method: str
    path: str
    repository: str
    headers: Mapping[str, str]
    actions: str = "pull"
    body: bytes | BinaryIO | None = None


class Endpoint:
    """A registry host that requests are sent to; may be used by several threads.

    Attributes:
        host: ``host[:port]`` that answers.
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
        """Take notes; nothing is sent.

        Args:
            host: ``host[:port]``.
            settings: What is configured for it.
            transport: Sends.
            policy: When to send again.
            progress: Told of pauses and quotas.
            find_credentials: Asked when the registry wants some.
            may_be_plain: Whether it may be asked without TLS where it does not answer by TLS.
            others: What is known of the hosts that it may send one to.
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
        """Send a request until there is an answer that no repetition would change; the caller closes it.

        Raises:
            RegistryError: There is none, or access is refused.
        """
        return self.with_retries(lambda: self.request_once(call))

    def request_head(self, call: RegistryRequest) -> Response:
        """Send a HEAD that a GET follows where it fails, so that a server's fault is an answer; the caller closes it.

        Raises:
            RegistryError: As :meth:`send`.
        """
        return self.with_retries(lambda: self.request_once(call), RETRIED_HEAD)

    def request_once(self, call: RegistryRequest) -> Response:
        """Send a request once, and again only to authorise it; for what :meth:`repeat` repeats as a whole.

        Raises:
            RegistryError: There is no answer, or access is refused.
        """
        return self._authorised(call)

    def request_expecting(self, call: RegistryRequest, *statuses: int) -> Response:
        """Send a request whose answer must have one of the statuses.

        Raises:
            RegistryError: As :meth:`send`, or the answer has another status.
        """
        response = self.request(call)
        if response.status in statuses:
            return response
        try:
            raise error_from_response(response, self.host)
        finally:
            response.close()

    def fetch_elsewhere(self, url: str, headers: Mapping[str, str]) -> Response:
        """Get a URL that the registry has nothing to do with, without credentials.

        Raises:
            RegistryError: There is no answer.
        """
        return self.with_retries(lambda: self._follow(RegistryRequest("GET", url, "", headers), url, ""))

    def pause(self, attempt: int, seconds: float | None = None) -> None:
        """Wait before try number ``attempt``.

        Raises:
            RegistryError: The endpoint was closed meanwhile.
        """
        self._repetition.pause(attempt, seconds)

    @property
    def is_local(self) -> bool:
        """Whether the host can only be this machine."""
        return is_loopback(urlsplit(f"//{self.host}").hostname or "")

    def own_url(self, url: str) -> str:
        """Return a URL that the registry gave, with its own scheme where it is on its own host.

        Registries behind a proxy that ends TLS often name themselves by ``http``.

        Raises:
            RegistryError: It leads from TLS to another host without.
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
        """Do something until it ends with an answer that no repetition would change; the caller closes it.

        Args:
            attempt_once: Sends and returns the answer.
            retried: Statuses that may be gone next time.

        Raises:
            RegistryError: As :meth:`send`.
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
        """Send the first request to a host that may have no TLS: by TLS, then without, and remember what it was."""
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
        """Send one request and follow redirects; what is secret goes to the registry only."""
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
        raise RegistryError("redirects lead in a circle", where=self.host, hint=_STRANGE)

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
        """Look whether one address may lead to another: from TLS to none only where the settings say so.

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
            hint=f"ask who runs it, or set allow-http-redirects: true for {self.host} under registries",
        )

    def _is_home(self, url: str) -> bool:
        """Tell whether a URL is the registry's own, spoken to as it should be."""
        parts = urlsplit(url)
        return (parts.scheme, parts.netloc.lower()) == (self._scheme, self.host.lower())

    def _url(self, path: str) -> str:
        return path if "://" in path else f"{self._scheme}://{self.host}{path}"

    def _send_to_token_service(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response:
        settings = self._settings_elsewhere(url)
        if settings == HostSettings():  # the peers let a registry's CA count for the token service that it names
            own = self._settings
            settings = HostSettings(more_ca=(*([own.ca_file] if own.ca_file else []), *own.more_ca))
        sender = ELSEWHERE if self._place is None else self._place
        return self.with_retries(
            lambda: self._transport.exchange(method, url, headers, settings, body=body, sender=sender)
        )

    def _settings_elsewhere(self, url: str) -> HostSettings:
        """Return what is configured for another host; a registry's CA counts for all ports of its name."""
        parts = urlsplit(url)
        if self._others and self._others.knows(parts.netloc):
            return self._others.of(parts.netloc)
        if parts.hostname == urlsplit(f"//{self.host}").hostname:
            return replace(self._settings, client_cert=None, client_key=None)
        return HostSettings()

    def _tell_quota(self, response: Response) -> None:
        """Say what Docker Hub says of the pulls that are left, once."""
        left = response.headers.get("ratelimit-remaining", "").partition(";")[0]
        if self._told_quota or not left.isdigit():
            return
        self._told_quota = True
        total = response.headers.get("ratelimit-limit", "").partition(";")[0]
        of = f" of {total}" if total.isdigit() else ""
        self._progress.info(f"{self.host}: {left}{of} pulls are left")
