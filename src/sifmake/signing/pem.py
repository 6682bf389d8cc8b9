"""Raw keys in PEM files, with ``cryptography``: reading, fingerprints, signing and verifying like the peers.

RSA uses PKCS#1 v1.5 and ECDSA uses DER, both over SHA-256; Ed25519 signs the message itself. RSA and Ed25519 signatures
are deterministic; ECDSA signatures are if the library supports that (RFC 6979).
"""

from __future__ import annotations

import base64
import hashlib
import os
import warnings
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from sifmake.errors import KeyFileError
from sifmake.signing.key_forms import KINDS, check_blocks, foreign_form

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.signing.passphrase import Passphrase

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_RSA_BITS = 2048


def load_private(data: bytes, where: str, passphrase: Passphrase) -> PrivateKey:
    """Read a private key: PKCS#8 plain or encrypted, PKCS#1, SEC1.

    Args:
        data: The PEM file.
        where: Its name, for messages and for the question for its passphrase.
        passphrase: Used only if the key is encrypted.

    Raises:
        KeyFileError: It is not such a key, its kind is not supported, or the passphrase is wrong.
    """
    key = load_plain(data, where)
    if key is None:
        return _check_private(_load_encrypted(data, where, passphrase), where)
    return key


def load_plain(data: bytes, where: str) -> PrivateKey | None:
    """Read an unencrypted private key; None if it is encrypted.

    Raises:
        KeyFileError: It is not a private key, or its kind is not supported.
    """
    if b"PRIVATE KEY-----" not in data and b"PUBLIC KEY-----" in data:
        raise KeyFileError("this is a public key", where=where, hint="use the private key to sign")
    check_blocks(data, "PRIVATE", where)
    try:
        return _check_private(_quietly(lambda: serialization.load_pem_private_key(data, None)), where)
    except TypeError:
        return None
    except (ValueError, UnsupportedAlgorithm):
        known = foreign_form(data, where)
        raise known or KeyFileError(
            "not a private key in PEM form", where=where, hint="use PKCS#8, PKCS#1 or SEC1"
        ) from None


def _load_encrypted(data: bytes, where: str, passphrase: Passphrase) -> object:
    """Read an encrypted private key, asking for its passphrase."""
    secret = passphrase(where)
    try:
        return serialization.load_pem_private_key(data, os.fsencode(secret))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise passphrase.wrong(where) from None


def load_public(data: bytes, where: str) -> PublicKey:
    """Read a public key: SubjectPublicKeyInfo (``PUBLIC KEY``) or PKCS#1 (``RSA PUBLIC KEY``).

    Raises:
        KeyFileError: It is not such a key, or its kind is not supported.
    """
    if b"PRIVATE KEY-----" in data:
        raise KeyFileError("this is a private key", where=where, hint="use the public key to verify")
    check_blocks(data, "PUBLIC", where)
    try:
        key = _quietly(lambda: serialization.load_pem_public_key(data))
    except (ValueError, UnsupportedAlgorithm):
        known = foreign_form(data, where)
        raise known or KeyFileError(
            "not a public key in PEM form", where=where, hint="use a file with a PUBLIC KEY or RSA PUBLIC KEY block"
        ) from None
    return _check_public(key, where)


def _quietly(load: Callable[[], object]) -> object:
    """Read a key without the library's warnings about kinds that are refused anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load()


def _check_private(key: object, where: str) -> PrivateKey:
    """Return the key if its kind and size can be used."""
    if not isinstance(key, PrivateKey):
        raise KeyFileError(f"{_kind_name(key)} keys cannot sign SIF files", where=where, hint=KINDS)
    _check_public(key.public_key(), where)
    return key


def _kind_name(key: object) -> str:
    """Return the name of a kind of key, such as Ed448."""
    return type(key).__name__.lstrip("_").removesuffix("PrivateKey").removesuffix("PublicKey")


def _check_public(key: object, where: str) -> PublicKey:
    """Return the key if its kind and size can be used."""
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_BITS:
        raise KeyFileError(f"an RSA key of {key.key_size} bits is too weak", where=where, hint=KINDS)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        raise KeyFileError(f"the curve {key.curve.name} is not supported", where=where, hint=KINDS)
    if not isinstance(key, PublicKey):
        raise KeyFileError(f"{_kind_name(key)} keys are not supported", where=where, hint=KINDS)
    return key


def key_id(key: PublicKey) -> str:
    """Return the fingerprint in OpenSSH's format: ``SHA256:`` and unpadded base64."""
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def describe(key: PublicKey) -> str:
    """Return kind and size of a key in words."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return f"ECDSA {key.curve.name}" if isinstance(key, ec.EllipticCurvePublicKey) else "Ed25519"


def sign(key: PrivateKey, message: bytes) -> bytes:
    """Return the signature of a message."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, _ecdsa())
    return key.sign(message)


def _ecdsa() -> ec.ECDSA:
    """Return ECDSA over SHA-256, deterministic if the library supports that."""
    try:
        return ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    except UnsupportedAlgorithm:
        return ec.ECDSA(hashes.SHA256())


def verifies(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether the key made a signature of a message."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        else:
            key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def new_private() -> PrivateKey:
    """Return a new Ed25519 key."""
    return ed25519.Ed25519PrivateKey.generate()


def private_bytes(key: PrivateKey, passphrase: str = "") -> bytes:
    """Return a key in PKCS#8 PEM, encrypted if there is a passphrase."""
    protection = (
        serialization.BestAvailableEncryption(os.fsencode(passphrase)) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def public_bytes(key: PublicKey) -> bytes:
    """Return a key in SubjectPublicKeyInfo PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
