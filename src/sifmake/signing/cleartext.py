"""The frame of an OpenPGP cleartext signature (RFC 9580, section 7), taken apart strictly; no keys, no cryptography."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sifmake.signing.metadata import MetadataError

_FRAME = re.compile(
    rb"-----BEGIN PGP SIGNED MESSAGE-----\r?\n"
    rb"(?:Hash: (?P<hash>[A-Z0-9, -]{1,80})\r?\n)?\r?\n"
    rb"(?P<text>.*?)\r?\n"
    rb"(?P<armor>-----BEGIN PGP SIGNATURE-----\r?\n[A-Za-z0-9+/=:. ()\r\n-]*?-----END PGP SIGNATURE-----)\s*",
    re.DOTALL,
)

_RULES = 6
"""Three lines of the frame begin and end with five dashes; more of them would make matching slow."""


@dataclass(frozen=True)
class ClearSigned:
    """A clear-signed text.

    Attributes:
        text: What is signed, without the line break before the signature.
        start: Where the text begins in the data.
        armor: The armored signature.
        hashes: Names from the ``Hash`` header.
    """

    text: bytes
    start: int
    armor: bytes
    hashes: tuple[str, ...]


def split(data: bytes) -> ClearSigned:
    """Take a clear-signed text apart; it must be all of the data.

    Raises:
        MetadataError: It is not of that form.
    """
    match = _FRAME.fullmatch(data) if data.count(b"-----") == _RULES else None
    if match is None or b"\n-" in match["text"] or match["text"].startswith(b"-"):
        raise MetadataError("neither a DSSE envelope nor one OpenPGP clear-signed text")
    names = (match["hash"] or b"").decode().replace(" ", "")
    hashes = tuple(name for name in names.split(",") if name)
    return ClearSigned(match["text"], match.start("text"), match["armor"], hashes)
