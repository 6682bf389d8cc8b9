"""Raw keys in PEM files, by ``cryptography``: reading, fingerprints, signing and verifying as the peers do it.

RSA signs by PKCS#1 v1.5 and ECDSA in DER, both over SHA-256; Ed25519 signs the message itself. RSA and Ed25519
signatures are deterministic, ECDSA ones where the library can make them so (RFC 6979).
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from sifmake.errors import KeyFileError

if TYPE_CHECKING:
    from sifmake.signing.passphrase import Passphrase

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
CURVES = ("secp256r1", "secp384r1", "secp521r1")
RSA_BITS = 2048


def load_private(data: bytes, where: str, passphrase: Passphrase) -> PrivateKey:
    """Read a private key: PKCS#8 plain or encrypted, PKCS#1, SEC1.

    Args:
        data: The PEM file.
        where: Its name, for messages and for the question for its passphrase.
        passphrase: Asked only if the key is encrypted.

    Raises:
        KeyFileError: It is no such key, its kind is not supported, or the passphrase is wrong.
    """
    if b"SIGSTORE PRIVATE KEY" in data or b"COSIGN PRIVATE KEY" in data:
        raise KeyFileError("cosign's own key encryption is not supported", where=where, hint="use a PKCS#8 key")
    key: object
    try:
        key = serialization.load_pem_private_key(data, None)
    except TypeError:
        key = load_encrypted(data, where, passphrase)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError("not a private key in PEM form", where=where, hint="PKCS#8, PKCS#1 and SEC1 work") from None
    if not isinstance(key, PrivateKey):
        raise KeyFileError(f"keys of type {type(key).__name__} cannot sign SIF files", where=where, hint=KINDS)
    check_public(key.public_key(), where)
    return key


KINDS = "RSA (2048 bits or more), ECDSA P-256, P-384 and P-521, and Ed25519 work"


def load_encrypted(data: bytes, where: str, passphrase: Passphrase) -> object:
    """Read an encrypted private key with the passphrase that is asked for."""
    secret = passphrase(where)
    try:
        return serialization.load_pem_private_key(data, secret.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileError("the passphrase does not open this key", where=where) from None


def load_public(data: bytes, where: str) -> PublicKey:
    """Read a public key: SubjectPublicKeyInfo (``PUBLIC KEY``) or PKCS#1 (``RSA PUBLIC KEY``).

    Raises:
        KeyFileError: It is no such key, or its kind is not supported.
    """
    if b"PRIVATE KEY-----" in data:
        raise KeyFileError("this is a private key", where=where, hint="verifying takes the public key")
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError("not a public key in PEM form", where=where, hint="PUBLIC KEY blocks work") from None
    return check_public(key, where)


def check_public(key: object, where: str) -> PublicKey:
    """Return the key if its kind and size can be used."""
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS:
        raise KeyFileError(f"an RSA key of {key.key_size} bits is too weak", where=where, hint=KINDS)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in CURVES:
        raise KeyFileError(f"the curve {key.curve.name} is not supported", where=where, hint=KINDS)
    if not isinstance(key, PublicKey):
        raise KeyFileError(f"keys of type {type(key).__name__} are not supported", where=where, hint=KINDS)
    return key


def key_id(key: PublicKey) -> str:
    """Return the fingerprint as OpenSSH writes it: ``SHA256:`` and unpadded base64."""
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
        return key.sign(message, ecdsa())
    return key.sign(message)


def ecdsa() -> ec.ECDSA:
    """Return ECDSA over SHA-256, deterministic where the library can."""
    try:
        return ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    except UnsupportedAlgorithm:
        return ec.ECDSA(hashes.SHA256())


def verifies(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether a signature of a message was made by the key."""
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
    """Return a key in PKCS#8 PEM, encrypted where there is a passphrase."""
    protection = (
        serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def public_bytes(key: PublicKey) -> bytes:
    """Return a key in SubjectPublicKeyInfo PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
