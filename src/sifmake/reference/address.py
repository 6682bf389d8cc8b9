"""Web addresses that anyone may have written: of files, redirects, token services, uploads and proxies."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

_USER = re.compile(r"//[^\s'\"]*@")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
"""In a host's name the system's resolver refuses some of it, and no name has any."""
_QUERY = re.compile(r"(//[^\s'\"?#]*)[?#][^\s'\"]*")


def whole_address(base: str, address: str) -> str:
    """Return an address in full, seen from ``base``; empty where it is none of ``http`` or ``https``.

    What is returned can be split and names no user: who writes an address does not say who asks. Whether there is
    such a host is another question.
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
    """Return an address as messages show it: without user and password, query and fragment, which may be secrets."""
    head, mark, tail = re.split(r"[?#]", address, maxsplit=1)[0].partition("//")
    return f"{head}{mark}{tail.rpartition('@')[2]}"


def without_secrets(text: str) -> str:
    """Return a text with the addresses in it as :func:`shown_address` shows them."""
    return _QUERY.sub(r"\1", _USER.sub("//", text))
