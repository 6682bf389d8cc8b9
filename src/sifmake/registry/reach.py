"""Classify addresses, because remote servers must not direct sifmake to services of this machine or its cloud."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

ELSEWHERE = ""
LOOPBACK = "this machine"
LINK_LOCAL = "this machine's own link"

_METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")))
"""Addresses at which clouds serve the secrets of a machine, in addition to 169.254.0.0/16."""
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


def place_of(address: str, own: str = "") -> str:
    """Return ``LOOPBACK``, ``LINK_LOCAL`` or ``ELSEWHERE`` for an address; ``ELSEWHERE`` for a name.

    Args:
        address: An IP address, perhaps with a zone.
        own: The local address of the connection; if both ends have the same address, it is this machine.
    """
    if own and address == own:
        return LOOPBACK
    try:
        found = ipaddress.ip_address(address.partition("%")[0].strip("[]"))
    except ValueError:
        return ELSEWHERE
    found = _embedded(found) or found
    if found.is_loopback or found.is_unspecified:
        return LOOPBACK
    return LINK_LOCAL if found.is_link_local or found in _METADATA else ELSEWHERE


def may_lead(sender: str, target: str) -> bool:
    """Tell whether one place may lead to another: any place to elsewhere, this machine to itself."""
    return target in {ELSEWHERE, sender}


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address embedded in an IPv6 address (mapped, compatible, 6to4, NAT64), or None."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    number = int(address)
    if address in _TRANSLATED or 1 < number < 1 << 32:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
