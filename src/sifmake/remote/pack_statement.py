"""The signed statement that a file is the pack of a key (in-toto Statement v1 in a DSSE envelope).

It names key and SHA-256 together, so it cannot be moved to another pack; a key has one right content, so repeating an
old statement does no harm.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sifmake.errors import SigningError
from sifmake.json_text import parse_json

if TYPE_CHECKING:
    from sifmake.signing import Passphrase, TrustStore

_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "urn:sifmake:pack:v1"


def sign_pack(key: str, sha256: str, sign_key: str, passphrase: Passphrase) -> bytes:
    """Return the envelope of a statement about a pack.

    Args:
        key: The key of the pack.
        sha256: SHA-256 of the file, hexadecimal.
        sign_key: The key that signs; see :func:`~sifmake.signing.statements.sign_statement`.
        passphrase: Used if it needs one.

    Raises:
        KeyFileError: The key that signs is missing or cannot be used.
    """
    from sifmake.signing.statements import sign_statement

    return sign_statement(_statement(key, sha256), _PAYLOAD_TYPE, sign_key, passphrase)


def signed_sha256(envelope: bytes, key: str, trust: TrustStore) -> str:
    """Return the SHA-256 that a trusted signer states for the pack of a key, hexadecimal.

    Raises:
        SigningError: The statement is not well-formed, not by a trusted key, or about another pack.
    """
    from sifmake.signing.statements import open_statement

    payload = open_statement(envelope, _PAYLOAD_TYPE, trust)
    try:
        (subject,) = parse_json(payload)["subject"]
        sha256 = subject["digest"]["sha256"]
    except (ValueError, LookupError, TypeError):
        raise SigningError("the signed statement is not about a pack") from None
    if not isinstance(sha256, str) or payload != _statement(key, sha256):
        raise SigningError("the signed statement is about something else")
    return sha256


def _statement(key: str, sha256: str) -> bytes:
    document = {
        "_type": _STATEMENT,
        "subject": [{"name": key, "digest": {"sha256": sha256}}],
        "predicateType": _PREDICATE,
        "predicate": {},
    }
    return json.dumps(document, separators=(",", ":")).encode()
