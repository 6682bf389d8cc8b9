"""The interface of signers, common to PEM keys, OpenPGP key files and gpg."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sifmake.errors import KeyFileError, SigningError
from sifmake.sif import HashType
from sifmake.signing import dsse, keystore
from sifmake.signing.trust import is_pem, read_key_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sifmake.signing.passphrase import Passphrase
    from sifmake.signing.pem import PrivateKey

_DEVELOPMENT = "development"


class Signer(Protocol):
    """Makes the data of signature objects."""

    @property
    def kind(self) -> str:
        """Form of the signature: "dsse" or "pgp"."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the key, or of all keys, separated by commas."""

    @property
    def entity(self) -> bytes:
        """The signer in the signature's descriptor: a primary OpenPGP fingerprint, or empty."""

    def sign(self, message: bytes) -> bytes:
        """Return the data of a signature object over the message."""


@dataclass(frozen=True)
class _DsseSigner:
    """Signs with one or more raw keys: one envelope with a signature by each; peers accept it with any of the keys.

    Attributes:
        keys: Pairs of OpenSSH fingerprint and private key.
    """

    keys: tuple[tuple[str, PrivateKey], ...]

    kind = "dsse"
    entity = b""

    @property
    def fingerprint(self) -> str:
        """Fingerprints of the keys, separated by commas."""
        return ",".join(key_id for key_id, _ in self.keys)

    def sign(self, message: bytes) -> bytes:
        """Return the envelope."""
        from sifmake.signing.pem import sign

        encoded = dsse.pre_authentication(message)
        signatures = [dsse.DsseSignature(key_id, sign(key, encoded)) for key_id, key in self.keys]
        return dsse.encode(message, signatures)


def load_signer(spec: str | Sequence[str], passphrase: Passphrase) -> Signer:
    """Return the signer that a configuration or command line names.

    Args:
        spec: ``development``, ``gpg:FINGERPRINT``, a key file (PEM or OpenPGP), or the name of a key of the user;
            several PEM keys sign together.
        passphrase: Used for keys that need one.

    Raises:
        KeyFileError: A key is missing or cannot be used.
        SigningError: Keys of different kinds are mixed.
    """
    specs = [spec] if isinstance(spec, str) else list(spec)
    if not specs:
        raise SigningError("no key to sign with", hint="use --key or --gpg")
    if specs == [_DEVELOPMENT]:
        path = keystore.development_key(keystore.config_folder())
        return _pem_signer([(path, read_key_file(path))], passphrase)
    if len(specs) == 1 and specs[0].startswith("gpg:"):
        return _gpg_signer(specs[0].removeprefix("gpg:"), passphrase)
    paths = [key_path(item) for item in specs]
    files = [(path, read_key_file(path)) for path in paths]  # read once, because one may be a pipe
    if all(is_pem(data) for _, data in files):
        return _pem_signer(files, passphrase)
    if len(specs) > 1:
        raise SigningError(
            "several keys can sign together only if all are PEM keys", hint="use one OpenPGP key, or PEM keys only"
        )
    from sifmake.signing import pgp_signer

    return pgp_signer.load_signer(files[0][1], str(paths[0]), passphrase)


def key_path(spec: str) -> Path:
    """Return the file of a private key, given as a path or as the name of one of the user's keys."""
    path = Path(spec)
    if path.exists():
        return path
    own = keystore.secret_path(keystore.config_folder(), spec) if keystore.is_name(spec) else path
    if not own.exists():
        raise KeyFileError("no such key file", where=spec, hint="run `sifmake key list --secret` to see your keys")
    return own


def _pem_signer(files: Sequence[tuple[Path, bytes]], passphrase: Passphrase) -> _DsseSigner:
    """Return the signer for raw private keys, given as files with their content."""
    from sifmake.signing.pem import key_id, load_private

    keys = [load_private(data, str(path), passphrase) for path, data in files]
    named = {key_id(key.public_key()): key for key in keys}
    if len(named) != len(keys):
        raise SigningError("the same key is given twice")
    return _DsseSigner(tuple(named.items()))


def _gpg_signer(key: str, passphrase: Passphrase) -> Signer:
    """Return the signer for a gpg key; the agent asks for a passphrase unless it is known already."""
    from sifmake.signing.gpg import find_signer

    return find_signer(key, passphrase.known())


def signature_hash(signer: Signer, data: bytes) -> HashType:
    """Return the hash that the descriptor of a signature names."""
    if signer.kind == "dsse":
        return HashType.SHA256
    from sifmake.signing.pgp_signer import hash_type

    return hash_type(data)
