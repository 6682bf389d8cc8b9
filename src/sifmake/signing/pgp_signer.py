"""Clear-signing with an OpenPGP secret key from a file, with ``pysequoia``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pysequoia

from sifmake.errors import KeyFileError, SigningError
from sifmake.sif import HashType
from sifmake.signing.certificates import FAILURES, first_user
from sifmake.signing.cleartext import split
from sifmake.signing.key_forms import foreign_form
from sifmake.signing.metadata import MetadataError
from sifmake.signing.pgp_packets import signatures_in

if TYPE_CHECKING:
    from sifmake.signing.passphrase import Passphrase

_HASH_TYPES = {"SHA256": HashType.SHA256, "SHA384": HashType.SHA384, "SHA512": HashType.SHA512}


@dataclass(frozen=True)
class OpenPgpSigner:
    """Clear-signs with a secret key from a file.

    Attributes:
        fingerprint: Primary fingerprint, upper-case hexadecimal.
        name: User ID.
        handle: The library's signer.
    """

    fingerprint: str
    name: str
    handle: pysequoia.PySigner

    kind = "pgp"

    @property
    def entity(self) -> bytes:
        """The bytes of the fingerprint for the signature's descriptor."""
        return bytes.fromhex(self.fingerprint)

    def sign(self, message: bytes) -> bytes:
        """Return the clear-signed message; it contains a random salt, so no two are equal."""
        try:
            return pysequoia.sign(self.handle, message, mode=pysequoia.SignatureMode.CLEAR)
        except FAILURES as error:
            raise SigningError(f"OpenPGP cannot sign: {_first_line(error)}", where=self.fingerprint) from None


def load_signer(data: bytes, where: str, passphrase: Passphrase) -> OpenPgpSigner:
    """Read a secret key, armored or binary.

    Raises:
        KeyFileError: It is not a secret key that can sign now, is not of version 4, or the passphrase is wrong.
    """
    if b"-----BEGIN PGP PUBLIC KEY BLOCK-----" in data:
        raise KeyFileError("this is a public key", where=where, hint="use the private key to sign")
    try:
        key = pysequoia.Tsk.from_bytes(data)
        cert = key.extract_certificate()
    except FAILURES:
        raise _no_single_key(data, where) from None
    if len(cert.fingerprint) != 40:
        raise KeyFileError("SIF signatures support OpenPGP keys of version 4 only", where=where)
    handle = _signing_handle(key, where, passphrase)
    return OpenPgpSigner(cert.fingerprint.upper(), first_user(cert), handle)


def _no_single_key(data: bytes, where: str) -> KeyFileError:
    """Return the error for a file from which no secret key can be read."""
    try:
        count = len(pysequoia.Cert.split_bytes(data))
    except FAILURES:
        count = 0
    if count > 1:
        hint = "export one key: gpg --export-secret-keys FPR > FILE, or apptainer key export --secret FILE"
        return KeyFileError(f"the file has {count} OpenPGP keys", where=where, hint=hint)
    hint = "use a private PEM key, or the output of `gpg --export-secret-keys`"
    return foreign_form(data, where) or KeyFileError("not a key", where=where, hint=hint)


def _signing_handle(key: pysequoia.Tsk, where: str, passphrase: Passphrase) -> pysequoia.PySigner:
    """Return a signer for a secret key; the passphrase is asked for only if it needs one."""
    try:
        return key.signer()
    except FAILURES as error:
        if "encrypted" not in str(error).lower():
            hint = "use a secret key with the sign flag that is neither expired nor revoked"
            raise KeyFileError(f"cannot sign: {_first_line(error)}", where=where, hint=hint) from None
    secret = passphrase(where)
    try:
        return key.signer(secret)
    except FAILURES:
        raise passphrase.wrong(where) from None


def hash_type(message: bytes) -> HashType:
    """Return the hash of a clear-signed message as the signature's descriptor names it.

    Raises:
        SigningError: The message is not clear-signed, or the format does not support its hash.
    """
    try:
        return _HASH_TYPES[signatures_in(split(message).armor)[0].hash_name]
    except (MetadataError, IndexError, KeyError):
        raise SigningError("the OpenPGP signature does not use SHA-256, SHA-384 or SHA-512") from None


def _first_line(error: BaseException) -> str:
    """Return an error's text without the stack trace that the library adds."""
    return str(error).split("\n", 1)[0]
