"""Encoding and strict decoding of DSSE envelopes (Dead Simple Signing Envelope)."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sifmake.signing.metadata import MetadataError

if TYPE_CHECKING:
    from collections.abc import Sequence

PAYLOAD_TYPE: Final = "application/vnd.sylabs.sif-metadata+json"
"""Type of the metadata of SIF files, which all functions here assume if no other is given."""


@dataclass(frozen=True)
class DsseSignature:
    """One signature of an envelope; with an empty ``key_id``, its key is not named."""

    key_id: str
    value: bytes


@dataclass(frozen=True)
class Envelope:
    """A signed payload and its type."""

    payload: bytes
    signatures: tuple[DsseSignature, ...]
    payload_type: str = PAYLOAD_TYPE


def pre_authentication(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return the bytes to sign: DSSE's pre-authentication encoding (PAE) of type and payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def encode(payload: bytes, signatures: Sequence[DsseSignature], payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return the envelope as compact JSON with the keys in the order of the reference library."""
    document = {
        "payloadType": payload_type,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {"keyid": signature.key_id, "sig": base64.b64encode(signature.value).decode()} for signature in signatures
        ],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def looks_like_envelope(data: bytes) -> bool:
    """Whether the data of a signature object looks like an envelope rather than a clear-signed text."""
    return data.lstrip()[:1] == b"{"


def decode(data: bytes, payload_type: str = PAYLOAD_TYPE) -> Envelope:
    """Read an envelope; unknown members are refused because they are not signed.

    Raises:
        MetadataError: The data is not a DSSE envelope with a payload of this type.
    """
    name = "SIF metadata" if payload_type == PAYLOAD_TYPE else payload_type
    try:
        document = json.loads(data.decode(), object_pairs_hook=_no_duplicates)
        signatures = tuple(_read_signature(item) for item in document["signatures"])
        payload = _strict_base64(document["payload"])
        known = set(document) == {"payloadType", "payload", "signatures"} and document["payloadType"] == payload_type
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise MetadataError(f"not a DSSE envelope with {name}") from None
    if not known or not signatures:
        raise MetadataError(f"the DSSE envelope has no signature by {name}")
    return Envelope(payload, signatures, payload_type)


def _read_signature(item: Any) -> DsseSignature:
    """Read one entry of ``signatures``."""
    key_id = item.get("keyid", "")
    if set(item) - {"keyid", "sig"} or not isinstance(key_id, str):
        raise ValueError
    return DsseSignature(key_id, _strict_base64(item["sig"]))


def _strict_base64(text: str) -> bytes:
    """Decode base64; only the canonical form is accepted."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError from None
    if base64.b64encode(data).decode() != text:
        raise ValueError
    return data


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object; ``ValueError`` if a name occurs twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members
