"""Explain why there was no answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
import urllib3

from sifmake.errors import RegistryError
from sifmake.reference.address import shown_address, whole_address, without_secrets
from sifmake.registry.connections import ForbiddenPlaceError
from sifmake.registry.wire import EndlessAnswerError

if TYPE_CHECKING:
    from sifmake.registry.settings import HostSettings

_OBJECT = re.compile(r"^(?:<[^>]*>|\w+\(.*?\)): ")


class TransportError(RegistryError):
    """There was no answer.

    Attributes:
        may_recover: Whether another attempt may succeed.
        reached: Whether the host accepted a connection.
        not_tls: Whether the other side may use plain HTTP.
    """

    def __init__(self, what: str, *, hint: str = "", may_recover: bool, reached: bool, not_tls: bool = False) -> None:
        super().__init__(what, hint=hint)
        self.may_recover = may_recover
        self.reached = reached
        self.not_tls = not_tls


def explain_failure(error: Exception, url: str, proxy: str | None, settings: HostSettings) -> TransportError:
    """Return the error that explains an exception of the HTTP library."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    reason = _innermost(error)
    text = _words(reason)
    if isinstance(reason, ForbiddenPlaceError):
        return forbidden(url, str(reason))
    if isinstance(reason, EndlessAnswerError):
        hint = "check that this is a registry, or ask its operator"
        return TransportError(f"{host} sent an invalid answer: {reason}", hint=hint, may_recover=False, reached=True)
    if about_address := _explain_address(error, text, url, proxy):
        return about_address
    if isinstance(error, requests.exceptions.SSLError):
        return _explain_tls(text, host, settings)
    if isinstance(error, requests.Timeout):
        return TransportError(f"{host} does not answer ({text})", may_recover=True, reached=False, not_tls=True)
    unreachable = "refused" in text or "resolve" in text or "Name or service" in text or "unreachable" in text
    hint = "check the registry's name and the network" if unreachable else ""
    broken = isinstance(error, requests.ConnectionError)
    return TransportError(
        f"cannot reach {host} ({text})", hint=hint, may_recover=broken, reached=not unreachable, not_tls=not unreachable
    )


def _explain_address(error: Exception, text: str, url: str, proxy: str | None) -> TransportError | None:
    """Return the error for an address or a proxy that cannot be used; None for other errors."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    if isinstance(error, (requests.exceptions.InvalidURL, urllib3.exceptions.LocationParseError)):
        what, hint = (
            f"{shown_address(url)[:80]!r} is not a usable address ({text[:80]})",
            "check where it comes from",
        )
        if proxy and not whole_address("", f"http:{proxy.partition(':')[2]}"):
            what, hint = (
                f"the proxy {_without_user(proxy)!r} is not a valid address",
                "write http://PROXY:PORT in HTTPS_PROXY",
            )
        return TransportError(what, hint=hint, may_recover=False, reached=False)
    if isinstance(error, requests.exceptions.ProxyError):
        return TransportError(
            f"the proxy {_without_user(proxy or '')} does not lead to {host} ({text})",
            hint="check HTTPS_PROXY, or add the host to NO_PROXY",
            may_recover=True,
            reached=False,
        )
    if isinstance(error, requests.exceptions.InvalidSchema):
        return TransportError(
            f"the proxy {_without_user(proxy or '')} cannot be used ({text})",
            hint="use an http:// proxy in HTTPS_PROXY, or install PySocks for socks5://",
            may_recover=False,
            reached=False,
        )
    return None


def _explain_tls(text: str, host: str, settings: HostSettings) -> TransportError:
    if "CERTIFICATE_VERIFY_FAILED" in text or "doesn't match" in text:
        hint = "check the CA file" if settings.ca_file else "set the CA under registries: HOST: ca-file:"
        return TransportError(
            f"the certificate of {host} is not trusted ({text})", hint=hint, may_recover=False, reached=True
        )
    if "ALERT" in text.upper():
        hint = "if it requires a client certificate, set one under registries: HOST: client-cert:"
        return TransportError(f"{host} refuses the TLS connection ({text})", hint=hint, may_recover=False, reached=True)
    hint = "if the host has no TLS, use --no-https or set plain-http for it"
    return TransportError(f"{host} does not use TLS ({text})", hint=hint, may_recover=True, reached=True, not_tls=True)


def forbidden(url: str, place: str) -> TransportError:
    """Return the error for an address to which remote servers must not lead."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    return TransportError(
        f"a remote server leads to {host}, which is {place}",
        hint="nothing was sent there; ask the operator of the registry",
        may_recover=False,
        reached=True,
    )


def _innermost(error: BaseException) -> BaseException:
    """Return the original error inside the errors of the HTTP library."""
    reason: BaseException = error
    for _ in range(8):
        inner = getattr(reason, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in reason.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        reason = inner
    return reason


def _words(reason: BaseException) -> str:
    """Return the message of the original error, without objects of the HTTP library and secrets in addresses."""
    text = str(reason.args[-1] if reason.args else reason)
    return without_secrets(_OBJECT.sub("", text)) or type(reason).__name__


def _without_user(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://{tail}" if at else url
