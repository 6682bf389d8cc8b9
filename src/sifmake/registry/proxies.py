"""Find the proxy for a host in the environment: ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``."""

from __future__ import annotations

import ipaddress
from string import punctuation
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


def find_proxy(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the proxy's URL, or None to connect directly. Loopback addresses never use a proxy."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or _is_excepted(host, parts.port, _get(environ, "no_proxy")):
        return None
    proxy = _get(environ, f"{parts.scheme}_proxy") or _get(environ, "all_proxy")
    if not proxy:
        return None
    user, at, place = (proxy if "://" in proxy else f"http://{proxy}").rpartition("@")
    return f"{quote(user, safe=punctuation, errors='surrogateescape')}{at}{place}"  # bytes of a password stay bytes


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can only be this machine."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    return any(_matches(host.lower(), port, item) for item in exceptions.replace(",", " ").split())


def _matches(host: str, port: int | None, item: str) -> bool:
    item = item.lower()
    if item == "*":
        return True
    address = _address(host)
    if address is not None:
        network = _network(item.strip("[]"))
        if network is not None:
            return address.version == network.version and address in network
    name, colon, wanted_port = item.rpartition(":")
    if colon and wanted_port.isdigit() and "]" not in wanted_port:
        item = name.strip("[]")
        if port is not None and int(wanted_port) != port:
            return False
    item = item.removeprefix("*").removeprefix(".")
    return host == item or host.endswith(f".{item}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _network(item: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(item, strict=False)
    except ValueError:
        return None


def _get(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""
