"""The ``Authorization`` header for a registry: Basic, or a token that is fetched and renewed (Docker's spec)."""

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
"""Lifetime in seconds of a token that does not say."""
_LONGEST_LIFE = 86_400.0
_LARGEST_ANSWER = 1 << 20
_CLIENT = "sifmake"
_SCHEMES = frozenset({"basic", "bearer"})
_VARIABLE = re.compile(r"[A-Z_]+\Z")


class _Send(Protocol):
    """Sends a request to a token service, with retries."""

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Response:
        """Return the answer, with any status."""
        ...


@dataclass(frozen=True)
class _Token:
    header: str
    dies: float


class Grants:
    """What a registry has granted for a repository; the images of a run share it, and so do threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tokens: dict[str, _Token] = {}
        self.challenges: dict[str, Challenge] = {}
        self.basic = ""
        self.credentials: Credentials | None = None
        self.looked = False


class Authorizer:
    """Authenticates to one registry; several threads may use it and share tokens.

    Attributes:
        schemes: Accepted ways to authenticate.

    Args:
        host: The registry's host, for messages.
        find: Returns the credentials; called once, if the registry requires some.
        send: Sends requests to token services.
        check_step: Raises an error if one address must not lead to another.
        secure: Whether the registry uses TLS.
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
        self._grants = Grants()

    def share(self, grants: Grants) -> None:
        """Use what the registry has granted to others for the same repository, and add to it."""
        self._grants = grants

    @property
    def credentials(self) -> Credentials | None:
        """The credentials; None for anonymous access."""
        grants = self._grants
        if not grants.looked:
            grants.credentials, grants.looked = self._find(), True
        return grants.credentials

    def header(self, repository: str, actions: str) -> str:
        """Return the header for a request; empty until the registry asks for one."""
        key = f"{repository}:{actions}"
        with self._grants.lock:
            token = self._grants.tokens.get(key)
            if token and token.dies > time.monotonic():
                return token.header
            if key in self._grants.challenges:
                return self._fetch(self._grants.challenges[key], repository, actions)
            return self._grants.basic

    def answer(self, response: Response, used: str, repository: str, actions: str) -> bool:
        """Handle a 401: return whether to repeat the request, with the new header.

        Args:
            response: The refusal.
            used: The header that the refused request had.
            repository: The repository of the request.
            actions: ``pull`` or ``pull,push``.

        Raises:
            RegistryError: The token service refuses.
        """
        key = f"{repository}:{actions}"
        with self._grants.lock:
            token = self._grants.tokens.get(key)
            if token and token.header != used:  # another thread got it meanwhile
                return True
            challenges = {item.scheme: item for item in parse_challenges(response.headers.get("WWW-Authenticate", ""))}
            if "bearer" in challenges and "bearer" in self.schemes:
                self._grants.challenges[key] = challenges["bearer"]
                self._fetch(challenges["bearer"], repository, actions)
                return True
            credentials = self.credentials
            if "basic" in challenges and credentials and not used:
                self._grants.basic = _basic(credentials)
                return True
            if challenges and not _SCHEMES & set(challenges):
                what = f"the registry requires an unsupported kind of authentication: {', '.join(challenges)}"
                raise RegistryError(what, where=self._host, hint="ask its operator for Basic or Bearer")
            return False

    def _fetch(self, challenge: Challenge, repository: str, actions: str) -> str:
        credentials = self.credentials
        if credentials and credentials.registry_token:
            header, life = f"Bearer {credentials.registry_token}", float("inf")
        else:
            header, life = self._ask(challenge, pull_scopes(challenge, repository, actions), credentials)
        self._grants.tokens[f"{repository}:{actions}"] = _Token(header, time.monotonic() + life)
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
            what = f"the registry names {given!r} as its token service"
            raise RegistryError(what, where=self._host, hint="check that this is a registry, or ask its operator")
        parts = urlsplit(realm)
        if self._secure() and parts.netloc.lower() == self._host.lower():
            return parts._replace(scheme="https").geturl()  # behind a proxy that terminates TLS, it calls itself http
        if (
            credentials
            and parts.scheme == "http"
            and self._secure()
            and not (is_loopback(urlsplit(base).hostname or "") and is_loopback(parts.hostname or ""))
        ):
            what = f"the registry asks to send credentials to {parts.hostname} without TLS"
            raise RegistryError(what, where=self._host, hint="ask its operator")
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
            what = f"the answer of the token service was interrupted ({str(error)[:120]})"
            raise TransportError(what, may_recover=True, reached=True) from None
        except (ValueError, AttributeError, RecursionError):
            token = life = None
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            hint = "check proxies on the way, or ask the operator of the registry"
            raise RegistryError("the token service did not return a token", where=self._host, hint=hint)
        seconds = float(min(life, _LONGEST_LIFE)) if isinstance(life, (int, float)) and life > 0 else _SHORTEST_LIFE
        return f"Bearer {token}", seconds * 0.9


def refusal(host: str, status: int, credentials: Credentials | None) -> RegistryError:
    """Return the error for a registry or token service that refuses access."""
    if credentials is None:
        return RegistryError(
            f"access was refused ({status}): the image is private or does not exist",
            where=host,
            hint=f"run `sifmake registry login {host}`; variables are used for SIFMAKE_DOCKER_REGISTRY only",
        )
    who = f" of {credentials.username}" if credentials.username else ""
    return RegistryError(
        f"access was refused ({status}) with the credentials{who} from {credentials.origin or 'the settings'}",
        where=host,
        hint=_remedy(host, credentials.origin),
    )


def _remedy(host: str, origin: str) -> str:
    if origin == COMMAND_LINE:
        return "check user and password"
    if _VARIABLE.match(origin):
        return f"correct or unset {origin}, which overrides `sifmake registry login`"
    return f"run `sifmake registry login {host}` again"


def _basic(credentials: Credentials) -> str:
    return f"Basic {base64.b64encode(credentials.pair).decode()}"
