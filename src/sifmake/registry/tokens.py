"""The ``Authorization`` header of a registry: Basic, or a token that is fetched, kept and renewed (Docker's spec)."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlencode, urlsplit

from sifmake.errors import RegistryError
from sifmake.reference.address import shown_address, whole_address
from sifmake.registry.challenge import Challenge, parse_challenges, pull_scopes
from sifmake.registry.failure import TransportError
from sifmake.registry.proxies import is_loopback
from sifmake.registry.settings import COMMAND_LINE
from sifmake.registry.transport import BROKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sifmake.registry.settings import Credentials
    from sifmake.registry.transport import Response

_SHORTEST_LIFE = 60.0
"""Seconds that a token lives which does not say."""
_LONGEST_LIFE = 86_400.0
_LARGEST_ANSWER = 1 << 20
_CLIENT = "sifmake"
_SCHEMES = frozenset({"basic", "bearer"})
_VARIABLE = re.compile(r"[A-Z_]+\Z")


class _Send(Protocol):
    """Sends a request to a token service, again if need be."""

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Response:
        """Return the answer, whatever its status."""
        ...


@dataclass(frozen=True)
class _Token:
    header: str
    dies: float


class Authorizer:
    """What one registry is told about who asks; may be used by several threads, which share tokens.

    Attributes:
        schemes: Ways to authenticate that are taken up.

    Args:
        host: The registry's host, for messages.
        find: Returns the credentials; asked once, when the registry wants some.
        send: Asks token services.
        check_step: Raises an error where one address must not lead to another.
        secure: Whether the registry is spoken to by TLS.
    """

    def __init__(
        self,
        host: str,
        find: Callable[[], Credentials | None],
        send: _Send,
        check_step: Callable[[str, str, str], None],
        secure: Callable[[], bool],
    ) -> None:
        self._host = host
        self._find = find
        self._send = send
        self._check_step = check_step
        self._secure = secure
        self.schemes = _SCHEMES
        self._lock = threading.Lock()
        self._tokens: dict[str, _Token] = {}
        self._challenges: dict[str, Challenge] = {}
        self._basic = ""
        self._credentials: Credentials | None = None
        self._looked = False

    @property
    def credentials(self) -> Credentials | None:
        """Who asks; None for nobody in particular."""
        if not self._looked:
            self._credentials, self._looked = self._find(), True
        return self._credentials

    def header(self, repository: str, actions: str) -> str:
        """Return the header for a request; empty before the registry has asked for one."""
        key = f"{repository}:{actions}"
        with self._lock:
            token = self._tokens.get(key)
            if token and token.dies > time.monotonic():
                return token.header
            if key in self._challenges:
                return self._fetch(self._challenges[key], repository, actions)
            return self._basic

    def answer(self, response: Response, used: str, repository: str, actions: str) -> bool:
        """React to a 401: return whether the request should be made again, with the header that there is now.

        Args:
            response: The refusal.
            used: The header that the refused request had.
            repository: What was asked about.
            actions: ``pull`` or ``pull,push``.

        Raises:
            RegistryError: The token service refuses.
        """
        key = f"{repository}:{actions}"
        with self._lock:
            token = self._tokens.get(key)
            if token and used and token.header != used:
                return True
            challenges = {item.scheme: item for item in parse_challenges(response.headers.get("WWW-Authenticate", ""))}
            if "bearer" in challenges and "bearer" in self.schemes:
                self._challenges[key] = challenges["bearer"]
                self._fetch(challenges["bearer"], repository, actions)
                return True
            credentials = self.credentials
            if "basic" in challenges and credentials and not used:
                self._basic = _basic(credentials)
                return True
            if challenges and not _SCHEMES & set(challenges):
                what = f"the registry wants to be authenticated to by {', '.join(challenges)}"
                raise RegistryError(what, where=self._host, hint="Basic and Bearer are known: ask who runs it")
            return False

    def _fetch(self, challenge: Challenge, repository: str, actions: str) -> str:
        credentials = self.credentials
        if credentials and credentials.registry_token:
            header, life = f"Bearer {credentials.registry_token}", float("inf")
        else:
            header, life = self._ask(challenge, pull_scopes(challenge, repository, actions), credentials)
        self._tokens[f"{repository}:{actions}"] = _Token(header, time.monotonic() + life)
        return header

    def _ask(self, challenge: Challenge, scopes: list[str], credentials: Credentials | None) -> tuple[str, float]:
        realm = self._realm(challenge, credentials)
        fields = [("scope", scope) for scope in scopes]
        if challenge.parameters.get("service"):
            fields.insert(0, ("service", challenge.parameters["service"]))
        if credentials and credentials.identity_token:
            response = self._refresh(realm, fields, credentials.identity_token)
        else:
            headers = {"Authorization": _basic(credentials)} if credentials else {}
            query = urlencode(fields)
            mark = "&" if urlsplit(realm).query else "?"
            response = self._send("GET", f"{realm}{mark}{query}" if query else realm, headers)
        try:
            return self._read(response, credentials)
        finally:
            response.close()

    def _refresh(self, realm: str, fields: list[tuple[str, str]], identity_token: str) -> Response:
        scope = " ".join(value for name, value in fields if name == "scope")
        service = dict(fields).get("service", "")
        form = {"grant_type": "refresh_token", "refresh_token": identity_token, "client_id": _CLIENT}
        body = urlencode({**form, "service": service, "scope": scope}, errors="surrogateescape").encode()
        return self._send("POST", realm, {"Content-Type": "application/x-www-form-urlencoded"}, body)

    def _realm(self, challenge: Challenge, credentials: Credentials | None) -> str:
        base = f"{'https' if self._secure() else 'http'}://{self._host}/"
        realm = whole_address(base, challenge.parameters.get("realm", ""))
        if not realm:
            given = shown_address(challenge.parameters.get("realm", ""))[:80]
            what = f"the registry names no token service but {given!r}"
            raise RegistryError(what, where=self._host, hint="is this a registry? ask who runs it")
        parts = urlsplit(realm)
        if self._secure() and parts.netloc.lower() == self._host.lower():
            return parts._replace(scheme="https").geturl()  # behind a proxy that ends TLS it calls itself plain
        if (
            credentials
            and parts.scheme == "http"
            and self._secure()
            and not (is_loopback(urlsplit(base).hostname or "") and is_loopback(parts.hostname or ""))
        ):
            what = f"the registry wants credentials sent to {parts.hostname} without TLS"
            raise RegistryError(what, where=self._host, hint="ask who runs it")
        self._check_step(base, realm, "names a token service at")
        return realm

    def _read(self, response: Response, credentials: Credentials | None) -> tuple[str, float]:
        if response.status != 200:
            raise refusal(self._host, response.status, credentials)
        try:
            document = json.loads(response.read_all(_LARGEST_ANSWER))
            token = document.get("token") or document.get("access_token")
            life = document.get("expires_in")
        except BROKEN as error:
            what = f"the token service broke off ({str(error)[:120]})"
            raise TransportError(what, may_recover=True, reached=True) from None
        except (ValueError, AttributeError, RecursionError):
            token = life = None
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            hint = "is there a proxy in between? ask who runs the registry"
            raise RegistryError("the token service gave no token", where=self._host, hint=hint)
        seconds = float(min(life, _LONGEST_LIFE)) if isinstance(life, (int, float)) and life > 0 else _SHORTEST_LIFE
        return f"Bearer {token}", seconds * 0.9


def refusal(host: str, status: int, credentials: Credentials | None) -> RegistryError:
    """Return the error for a registry or token service that says no."""
    if credentials is None:
        return RegistryError(
            f"access was refused ({status}): the image is private, or there is none of that name",
            where=host,
            hint=f"log in with sifmake registry login {host}; users in variables are for SIFMAKE_DOCKER_REGISTRY alone",
        )
    who = f" of {credentials.username}" if credentials.username else ""
    return RegistryError(
        f"access was refused ({status}) with the credentials{who} from {credentials.origin or 'the settings'}",
        where=host,
        hint=_remedy(host, credentials.origin),
    )


def _remedy(host: str, origin: str) -> str:
    if origin == COMMAND_LINE:
        return "are user and password right?"
    if _VARIABLE.match(origin):
        return f"mend or unset {origin}: it comes before what sifmake registry login keeps"
    return f"log in anew with sifmake registry login {host}"


def _basic(credentials: Credentials) -> str:
    return f"Basic {base64.b64encode(credentials.pair).decode()}"
