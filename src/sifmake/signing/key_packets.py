"""How many packets a file of OpenPGP keys has, counted before the library keeps each of them in memory."""

from __future__ import annotations

import base64
import re

from sifmake.errors import KeyFileError
from sifmake.signing.armor import count_packets

_MOST_PACKETS = 5_000
"""A key with a user ID and a subkey has five. Each takes memory, and user IDs are compared with each other."""
_SURE_BYTES = 256 << 10
"""Below, a file whose packets cannot be told is left to the library: it cannot hold too many of them."""
_BLOCK = re.compile(rb"-----BEGIN PGP [A-Z ]+-----[^\n]*\n(.*?)-----END PGP ", re.DOTALL)


def check_packets(data: bytes, where: str) -> None:
    """Check that a file of keys has no more packets than are read.

    Args:
        data: The file, armored or binary.
        where: Its path, for messages.

    Raises:
        KeyFileError: It has more, or is large and its packets cannot be told apart.
    """
    blocks = [data] if b"-----BEGIN PGP " not in data else [_encoded(found[1]) for found in _BLOCK.finditer(data)]
    unknown = len(data) - sum(map(len, blocks)) - data.count(b"\n")
    number = 0
    try:
        for block in blocks:
            number += count_packets(block if block is data else base64.b64decode(block, validate=True), _MOST_PACKETS)
    except (ValueError, IndexError):
        unknown = len(data)
    if unknown > _SURE_BYTES:
        hint = "get the key again from its owner: gpg --armor --export FINGERPRINT writes it"
        raise KeyFileError("not an OpenPGP certificate, or a damaged one", where=where, hint=hint)
    if number > _MOST_PACKETS:
        what = f"holds more than {_MOST_PACKETS} OpenPGP packets (a limit)"
        hint = "gpg --export-options export-minimal leaves out what is not needed; split a ring into several files"
        raise KeyFileError(what, where=where, hint=hint)


def _encoded(block: bytes) -> bytes:
    """Return the base64 text of an armored block: without headers, blank lines and checksum."""
    lines = [line.strip() for line in block.split(b"\n")]
    return b"".join(line for line in lines if b":" not in line and not line.startswith(b"="))
