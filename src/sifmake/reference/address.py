"""Web addresses that anyone may have written: of files, redirects, token services, uploads and proxies."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit


def whole_address(base: str, address: str) -> str:
    """Return an address in full, seen from ``base``; empty where it is none of ``http`` or ``https``.

    What is returned can be split; whether there is such a host is another question.
    """
    try:
        url = urljoin(base, address)
        parts = urlsplit(url)
        fit = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return ""
    return url if fit else ""
