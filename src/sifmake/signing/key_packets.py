"""Count the packets in a file of OpenPGP keys before the library keeps each of them in memory."""

from __future__ import annotations

import base64
import re

from sifmake.errors import KeyFileError
from sifmake.signing.armor import count_packets

_MOST_PACKETS = 5_000
"""Most packets; a key with a user ID and a subkey has five. Each takes memory, and user IDs are compared pairwise."""
_SURE_BYTES = 256 << 10
"""A smaller file whose packets cannot be counted is left to the library, because it cannot have too many."""
_BLOCK = re.compile(rb"-----BEGIN PGP [A-Z ]+-----[^\n]*\n(.*?)-----END PGP ", re.DOTALL)


def check_packets(data: bytes, where: str) -> None:
    """Check that a file of keys does not have too many packets.

    Args:
        data: The file, armored or binary.
        where: Its path, for messages.

    Raises:
        KeyFileError: It has too many, or is large and its packets cannot be counted.
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
        hint = "ask the owner for the key again, exported with `gpg --armor --export FINGERPRINT`"
        raise KeyFileError("not an OpenPGP certificate, or a damaged one", where=where, hint=hint)
    if number > _MOST_PACKETS:
        what = f"the file has more than {_MOST_PACKETS} OpenPGP packets (a limit)"
        hint = "export it with `gpg --export-options export-minimal`, or split a keyring into several files"
        raise KeyFileError(what, where=where, hint=hint)


def _encoded(block: bytes) -> bytes:
    """Return the base64 text of an armored block, without headers, blank lines and checksum."""
    lines = [line.strip() for line in block.split(b"\n")]
    return b"".join(line for line in lines if b":" not in line and not line.startswith(b"="))
