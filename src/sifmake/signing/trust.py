"""The keys that a verifier trusts or denies."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.errors import KeyFileError
from sifmake.files import read_regular

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sifmake.signing.certificates import Certificate
    from sifmake.signing.pem import PublicKey

_DENY_FILE = "denied.txt"
SUFFIXES = (".pem", ".pub", ".asc", ".gpg", ".pgp")
_KEY_FILE_BYTES = 64 << 20
_DENIED_BYTES = 4 << 20


@dataclass(frozen=True)
class TrustedKey:
    """A raw public key.

    Attributes:
        key_id: OpenSSH fingerprint.
        name: Where it comes from.
        key: The key.
        development: Whether it is the development key, made on this machine so that builds work without a real key.
    """

    key_id: str
    name: str
    key: PublicKey
    development: bool = False


@dataclass(frozen=True)
class TrustStore:
    """The keys for checking signatures; no other source of keys is used.

    Attributes:
        keys: Raw public keys.
        certificates: OpenPGP certificates.
        denied: Fingerprints that are always refused: OpenPGP in upper-case hexadecimal, raw keys in OpenSSH's format.
    """

    keys: tuple[TrustedKey, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    denied: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def load(cls, places: Iterable[Path], *, development: bool = False) -> TrustStore:
        """Read key files, and folders of them with an optional ``denied.txt``.

        In a folder, only files with the suffixes .pem .pub .asc .gpg .pgp are read.

        Raises:
            KeyFileError: A file has no public key, or a secret one.
            OSError: A file cannot be read.
        """
        store = cls()
        for place in places:
            if place.is_dir():
                for file in sorted(place.iterdir()):
                    store = store.merged(load_from_folder(file))
            else:
                store = store.merged(load_file(place, development=development))
        return store

    def merged(self, other: TrustStore) -> TrustStore:
        """Return a store with the keys of both."""
        keys = {item.key_id: item for item in (*other.keys, *self.keys)}
        certificates = self.certificates or other.certificates
        if self.certificates and other.certificates:
            from sifmake.signing.certificates import united

            certificates = united((*self.certificates, *other.certificates))
        return TrustStore(tuple(keys.values()), certificates, self.denied | other.denied)


def load_from_folder(file: Path) -> TrustStore:
    """Read one file of a folder of keys; a file whose name is not that of a key gives an empty store."""
    if file.name == _DENY_FILE:
        return TrustStore(denied=read_denied(file))
    usable = file.suffix in SUFFIXES and not file.name.startswith(".") and file.is_file()
    return load_file(file) if usable else TrustStore()


def load_file(path: Path, *, development: bool = False) -> TrustStore:
    """Read a file with one raw public key or with OpenPGP certificates."""
    return load_keys(read_key_file(path), path, development=development)


def load_keys(data: bytes, path: Path, *, development: bool = False) -> TrustStore:
    """Return the keys in the content of a file."""
    where = str(path)
    if is_pem(data):
        from sifmake.signing.pem import key_id, load_public

        key = load_public(data, where)
        return TrustStore(keys=(TrustedKey(key_id(key), path.name, key, development),))
    from sifmake.signing.certificates import read_certificates

    return TrustStore(certificates=tuple(read_certificates(data, where)))


def read_key_file(path: Path) -> bytes:
    """Return the content of a key file or of a pipe with one; KeyFileError if it is missing, empty or too large."""
    try:
        usable = path.is_file() or path.is_fifo()
        with path.open("rb") if usable or not path.exists() else io.BytesIO() as file:
            data = file.read(_KEY_FILE_BYTES + 1)
    except FileNotFoundError:
        raise KeyFileError("no such key file", where=str(path), hint="check the path") from None
    if not data or len(data) > _KEY_FILE_BYTES:
        what = "the file is empty" if usable and not data else "not a key file"
        raise KeyFileError(what, where=str(path), hint="name a file with a PEM or OpenPGP key")
    return data


def is_pem(data: bytes) -> bool:
    """Whether a key file contains a raw key rather than OpenPGP."""
    return b"-----BEGIN " in data and b"-----BEGIN PGP " not in data


def read_listed(path: Path, most: int = _KEY_FILE_BYTES) -> bytes:
    """Return the content of a file in a folder of keys, which may be a link to anything.

    Raises:
        KeyFileError: It is not a regular file, cannot be read, or is too large.
    """
    try:
        data = read_regular(path, most + 1)
    except OSError as error:
        what = f"the file cannot be read ({error.strerror})"
        raise KeyFileError(what, where=str(path), hint="replace it with a regular file") from None
    if len(data) > most:
        raise KeyFileError(f"the file is larger than {most} bytes (a limit)", where=str(path), hint="make it smaller")
    return data


def read_denied(path: Path) -> frozenset[str]:
    """Read fingerprints, one per line; ``#`` begins a comment.

    Raises:
        KeyFileError: A line is not a fingerprint.
    """
    denied: set[str] = set()
    data = read_listed(path, _DENIED_BYTES)
    for number, line in enumerate(data.decode("utf-8", "backslashreplace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text:
            denied.add(normalized(text, f"{path}, line {number}"))
    return frozenset(denied)


def normalized(text: str, where: str = "") -> str:
    """Return a fingerprint in the spelling that comparisons use.

    Raises:
        KeyFileError: The text is not a fingerprint.
    """
    if re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", text):
        return text
    compact = text.replace(" ", "").replace(":", "").upper().removeprefix("0X")
    if not re.fullmatch(r"[0-9A-F]{40}|[0-9A-F]{64}", compact):
        hint = "write 40 or 64 hexadecimal digits, or SHA256:..."
        raise KeyFileError(f"{text!r:.80} is not a fingerprint", where=where, hint=hint)
    return compact
