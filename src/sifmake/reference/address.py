"""Untrusted web addresses: of files, redirects, token services, uploads and proxies."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

_USER = re.compile(r"//[^\s'\"]*@")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
"""Characters that no host name has; the system's resolver refuses some of them."""
_QUERY = re.compile(r"(//[^\s'\"?#]*)[?#][^\s'\"]*")


def whole_address(base: str, address: str) -> str:
    """Return an address relative to ``base`` in full; empty if it does not use ``http`` or ``https``.

    The result can be split and contains no user, because an address must not choose the credentials. The host need not
    exist.
    """
    try:
        url = urljoin(base, address)
        parts = urlsplit(url)
        host = parts.hostname or "\0"
        fit = parts.scheme in {"http", "https"} and not _UNPRINTABLE.search(host) and parts.port != 0
    except ValueError:
        return ""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if fit else ""


def shown_address(address: str) -> str:
    """Return an address for messages, without user and password, query and fragment, which may be secrets."""
    head, mark, tail = re.split(r"[?#]", address, maxsplit=1)[0].partition("//")
    return f"{head}{mark}{tail.rpartition('@')[2]}"


def without_secrets(text: str) -> str:
    """Return a text in which addresses are replaced with the result of :func:`shown_address`."""
    return _QUERY.sub(r"\1", _USER.sub("//", text))
