"""OpenPGP signature armor, rewritten so that a strict parser reads it.

Go's old OpenPGP library, in every Singularity and in Apptainer until 1.1, wrote the length of an RSA signature as a
multiple of eight bits even if its first bits are zero. RFC 9580 section 3.2 calls such integers malformed, and
``pysequoia`` skips them; gpg and the peers read them. Only the lengths of the integers change here, not their values.
"""

from __future__ import annotations

import base64

from sifmake.signing.metadata import MetadataError

SIGNATURE_TAG = 2
VERSION_4 = 4
_WITH_INTEGERS = {1, 3, 17, 19, 22}
"""Algorithms whose signatures are multiprecision integers: RSA, DSA, ECDSA, EdDSA (RFC 9580, section 5.2.3)."""
_LONGEST_HEADER = 6
_BEGIN = b"-----BEGIN PGP SIGNATURE-----"
_END = b"-----END PGP SIGNATURE-----"


def canonical(armor: bytes) -> bytes:
    """Return an armored signature block in which the integers of version 4 signatures have canonical lengths.

    Raises:
        MetadataError: The armor or a packet in it is damaged.
    """
    try:
        data = dearmored(armor)
        rewritten = b"".join(_rewrite(tag, body) for tag, body in packets(data))
    except (IndexError, ValueError):
        raise MetadataError("the OpenPGP signature is damaged") from None
    return armored(rewritten)


def armored(data: bytes) -> bytes:
    """Return a signature block with some packets."""
    text = base64.b64encode(data)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([_BEGIN, b"", *lines, _END, b""])


def dearmored(armor: bytes) -> bytes:
    """Return the bytes in an armored block, without its checksum, which does not protect anything."""
    lines = [line.strip() for line in armor.splitlines()]
    start = lines.index(b"") + 1
    encoded = b"".join(line for line in lines[start:-1] if not line.startswith(b"="))
    return base64.b64decode(encoded, validate=True)


def count_packets(data: bytes, most: int) -> int:
    """Return how many packets data has, or ``most`` + 1 if there are more; ``ValueError`` as in :func:`packets`."""
    at = number = 0
    while at < len(data) and number <= most:
        _, width, size = header(data[at : at + _LONGEST_HEADER])
        at += width + size
        number += 1
    if number <= most and at != len(data):
        raise ValueError
    return number


def packets(data: bytes) -> list[tuple[int, bytes]]:
    """Return tags and bodies of the packets in data; ``ValueError`` if they do not fill it exactly."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        tag, width, size = header(data[at : at + _LONGEST_HEADER])
        end = at + width + size
        if end > len(data):
            raise ValueError
        found.append((tag, data[at + width : end]))
        at = end
    return found


def header(data: bytes) -> tuple[int, int, int]:
    """Return tag, length of the header and length of the body of the first packet (RFC 9580, section 4.2)."""
    first = data[0]
    if not first & 0x80:
        raise ValueError
    if not first & 0x40:
        width = (1, 2, 4)[first & 3]
        return (first >> 2) & 15, 1 + width, int.from_bytes(data[1 : 1 + width])
    if data[1] < 192:
        return first & 63, 2, data[1]
    if data[1] < 224:
        return first & 63, 3, ((data[1] - 192) << 8) + data[2] + 192
    if data[1] == 255:
        return first & 63, 6, int.from_bytes(data[2:6])
    raise ValueError


def _rewrite(tag: int, body: bytes) -> bytes:
    """Return a packet, with canonical integers if it is a version 4 signature."""
    if tag == SIGNATURE_TAG and body[0] == VERSION_4 and body[2] in _WITH_INTEGERS:
        hashed_end = 6 + int.from_bytes(body[4:6])
        start = hashed_end + 2 + int.from_bytes(body[hashed_end : hashed_end + 2]) + 2
        if start > len(body):
            raise ValueError
        body = body[:start] + _canonical_integers(body[start:])
    return packed(tag, body)


def packed(tag: int, body: bytes) -> bytes:
    """Return a packet with a header in the form that all readers know."""
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4) + body


def _canonical_integers(data: bytes) -> bytes:
    """Return multiprecision integers with their leading zeros removed from length and value."""
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 2 + (int.from_bytes(data[at : at + 2]) + 7) // 8
        if end > len(data):
            raise ValueError
        value = int.from_bytes(data[at + 2 : end])
        parts.append(value.bit_length().to_bytes(2) + value.to_bytes((value.bit_length() + 7) // 8))
        at = end
    return b"".join(parts)
