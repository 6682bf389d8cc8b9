"""Check whether the primary key of an OpenPGP certificate made a signature on one of its subkeys.

Anyone can add packets to a copy of a certificate. The library ignores invalid signatures but still lists them. What
they say about a subkey, that it is valid for longer or revoked, must not count, so they are checked here (RFC 9580,
sections 5.2.3, 5.2.4 and 5.5.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

if TYPE_CHECKING:
    from collections.abc import Mapping

_RSA, _ECDSA, _EDDSA, _ED25519 = (1, 3), 19, 22, 27
_MATERIAL = 6
"""Offset of the key material in a key packet, after version, time and algorithm."""
_HASHES: Final[Mapping[int, type[hashes.HashAlgorithm]]] = {
    2: hashes.SHA1,
    8: hashes.SHA256,
    9: hashes.SHA384,
    10: hashes.SHA512,
    11: hashes.SHA224,
    12: hashes.SHA3_256,
    14: hashes.SHA3_512,
}
_CURVES: Final[Mapping[bytes, type[ec.EllipticCurve]]] = {
    bytes.fromhex("2a8648ce3d030107"): ec.SECP256R1,
    bytes.fromhex("2b81040022"): ec.SECP384R1,
    bytes.fromhex("2b81040023"): ec.SECP521R1,
}
_ED25519_OID = bytes.fromhex("2b06010401da470f01")
_RAW = 32
"""Bytes of an Ed25519 key, and of each half of a signature."""


def made_by_primary(primary: bytes, subkey: bytes, signature: bytes) -> bool | None:
    """Tell whether a primary key made a signature on a subkey.

    Args:
        primary: Body of its packet, version 4.
        subkey: Body of the subkey's packet.
        signature: Body of the signature packet, version 4.

    Returns:
        None if the kind of the primary key cannot be checked here.
    """
    if not _is_supported(primary):
        return None
    end = 6 + int.from_bytes(signature[4:6])
    values = signature[end + 2 + int.from_bytes(signature[end : end + 2]) + 2 :]
    head = signature[:end]
    framed = b"".join(b"\x99" + len(body).to_bytes(2) + body for body in (primary, subkey))
    text = framed + head + b"\4\xff" + len(head).to_bytes(4)
    algorithm, kind = _HASHES.get(signature[3]), primary[_MATERIAL - 1]
    if algorithm is None or not (signature[2] == kind or {signature[2], kind} <= {*_RSA}):
        return False
    try:
        _verify(primary[_MATERIAL:], kind, algorithm(), values, text)
    except (InvalidSignature, ValueError, OverflowError):
        return False
    except UnsupportedAlgorithm:
        return None
    return True


def _is_supported(primary: bytes) -> bool:
    kind, size = primary[_MATERIAL - 1], primary[_MATERIAL]
    curve = primary[_MATERIAL + 1 : _MATERIAL + 1 + size]
    return kind in (*_RSA, _ED25519) or (kind == _ECDSA and curve in _CURVES) or (kind, curve) == (_EDDSA, _ED25519_OID)


def _verify(material: bytes, kind: int, algorithm: hashes.HashAlgorithm, values: bytes, text: bytes) -> None:
    """Check a signature; ``InvalidSignature`` if the key did not make it, ``ValueError`` if it is malformed."""
    if kind in _RSA:
        modulus, exponent = _integers(material, 2)
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        (value,) = _integers(values, 1)
        key.verify(value.to_bytes((key.key_size + 7) // 8), text, padding.PKCS1v15(), algorithm)
        return
    digest = hashes.Hash(algorithm)
    digest.update(text)
    if kind == _ED25519:
        ed25519.Ed25519PublicKey.from_public_bytes(material[:_RAW]).verify(values[: 2 * _RAW], digest.finalize())
        return
    size = material[0]
    curve, point = material[1 : 1 + size], material[3 + size :]
    r, s = _integers(values, 2)
    if kind == _EDDSA:
        raw = r.to_bytes(_RAW) + s.to_bytes(_RAW)
        ed25519.Ed25519PublicKey.from_public_bytes(point[1 : 1 + _RAW]).verify(raw, digest.finalize())
        return
    public = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve](), point)
    public.verify(utils.encode_dss_signature(r, s), digest.finalize(), ec.ECDSA(utils.Prehashed(algorithm)))


def _integers(data: bytes, count: int) -> list[int]:
    """Return the first multiprecision integers in data; ``ValueError`` if it is too short."""
    found: list[int] = []
    for _ in range(count):
        size = (int.from_bytes(data[:2]) + 7) // 8
        if len(data) < 2 + size:
            raise ValueError
        found.append(int.from_bytes(data[2 : 2 + size]))
        data = data[2 + size :]
    return found
