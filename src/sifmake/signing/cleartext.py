"""Strict parsing of the frame of an OpenPGP cleartext signature (RFC 9580, section 7), without any cryptography."""

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
"""The frame has three lines that begin and end with five dashes; more of them would make matching slow."""


@dataclass(frozen=True)
class ClearSigned:
    """A clear-signed text.

    Attributes:
        text: The signed text, without the line break before the signature.
        start: Offset of the text in the data.
        armor: The armored signature.
        hashes: Names from the ``Hash`` header.
    """

    text: bytes
    start: int
    armor: bytes
    hashes: tuple[str, ...]


def split(data: bytes) -> ClearSigned:
    """Split a clear-signed text into its parts; the data must contain nothing else.

    Raises:
        MetadataError: The data does not have that form.
    """
    match = _FRAME.fullmatch(data) if data.count(b"-----") == _RULES else None
    if match is None or b"\n-" in match["text"] or match["text"].startswith(b"-"):
        raise MetadataError("neither a DSSE envelope nor one OpenPGP clear-signed text")
    names = (match["hash"] or b"").decode().replace(" ", "")
    hashes = tuple(name for name in names.split(",") if name)
    return ClearSigned(match["text"], match.start("text"), match["armor"], hashes)
