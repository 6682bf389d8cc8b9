"""Signed statements about other things than SIF files: DSSE envelopes of their own payload type.

The type is part of what is signed, so a statement cannot pass as the signature of a SIF file, or the reverse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import KeyFileError, SigningError
from sifmake.signing import dsse
from sifmake.signing.judge import judge_envelope, judge_signers
from sifmake.signing.signer import key_path
from sifmake.signing.trust import is_pem, read_key_file
from sifmake.signing.verdict import Verdict

if TYPE_CHECKING:
    from sifmake.signing.passphrase import Passphrase
    from sifmake.signing.trust import TrustStore

_MOST_SIGNATURES = 16


def sign_statement(payload: bytes, payload_type: str, key: str, passphrase: Passphrase) -> bytes:
    """Return an envelope with a payload and its signature.

    Args:
        payload: The statement.
        payload_type: Its media type.
        key: File of a PEM key, or the name of a key of the user.
        passphrase: Used if the key needs one.

    Raises:
        KeyFileError: The key is missing or cannot be used.
    """
    from sifmake.signing.pem import key_id, load_private, sign

    path = key_path(key)
    data = read_key_file(path)
    if not is_pem(data):
        raise KeyFileError(
            "only PEM keys sign statements", where=str(path), hint="run `sifmake key newpair` to make one"
        )
    private = load_private(data, str(path), passphrase)
    signature = sign(private, dsse.pre_authentication(payload, payload_type))
    return dsse.encode(payload, [dsse.DsseSignature(key_id(private.public_key()), signature)], payload_type)


def open_statement(envelope: bytes, payload_type: str, trust: TrustStore) -> bytes:
    """Return the payload of an envelope that a trusted key signed.

    Args:
        envelope: The envelope, from anywhere.
        payload_type: The media type that the payload must have.
        trust: The keys that may have signed it.

    Raises:
        SigningError: It is not well-formed, or none of the keys signed it.
    """
    opened = dsse.decode(envelope, payload_type)
    if len(opened.signatures) > _MOST_SIGNATURES:
        raise SigningError(f"the statement has more than {_MOST_SIGNATURES} signatures")
    verdict, reasons = judge_signers(judge_envelope(opened, trust))
    if verdict is not Verdict.VERIFIED:
        raise SigningError(f"the statement is not signed by a trusted key ({'; '.join(reasons)[:200]})")
    return opened.payload
