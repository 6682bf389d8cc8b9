"""The user's keys: private keys, which sign, and trusted public keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.api.common import StrPath, as_path, output_file
from sifmake.errors import KeyFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime


@dataclass(frozen=True)
class KeyPair:
    """A new key pair.

    Attributes:
        private: File of the private key.
        public: File of the public key, to give to others.
    """

    private: Path
    public: Path


@dataclass(frozen=True)
class PrivateKeyFile:
    """A private key of the user.

    Attributes:
        name: Its name, which :func:`sign` accepts as ``key``.
        protected: Whether it has a passphrase.
        path: The file.
    """

    name: str
    protected: bool
    path: Path


@dataclass(frozen=True)
class PublicKeyFile:
    """A trusted public key.

    Attributes:
        fingerprint: In OpenSSH's format for raw keys, hexadecimal for OpenPGP.
        name: Name of the file, or the user ID of an OpenPGP key.
        kind: For example ``Ed25519`` or ``OpenPGP``.
        revoked: Whether it is revoked; a revoked key verifies nothing.
        expires: When it expires; None for never.
        path: The file.
    """

    fingerprint: str
    name: str
    kind: str
    revoked: bool
    expires: datetime | None
    path: Path


@dataclass(frozen=True)
class KeyImport:
    """What :meth:`Keyring.import_file` did.

    Attributes:
        trusted: A label for each public key that is now trusted.
        private: The copy of a private key; None if the file holds public keys.
    """

    trusted: tuple[str, ...]
    private: Path | None = None


class Keyring:
    """The user's keys, with the operations of ``sifmake key``."""

    def __init__(self, folder: StrPath | None = None) -> None:
        """Use the keys in a configuration folder.

        Args:
            folder: Configuration folder; None for ``$SIFMAKE_CONFIG_DIR``, else ``~/.config/sifmake``. Functions that
                take the name of a key always look there.
        """
        self._folder = as_path(folder)

    def __repr__(self) -> str:
        return f"Keyring({str(self.folder)!r})"

    @property
    def folder(self) -> Path:
        """The configuration folder.

        Raises:
            KeyFileError: The folder cannot be read, or there is no home directory.
        """
        from sifmake.signing.keystore import config_folder

        return self._folder or config_folder()

    def new_pair(self, name: str = "default", passphrase: str = "") -> KeyPair:
        """Make an Ed25519 key pair and trust its public half.

        Args:
            name: Its name, which :func:`sign` accepts as ``key``.
            passphrase: Protects the private key; if empty, the key is kept unencrypted, readable only by the user.

        Raises:
            KeyFileError: The name is not valid, or is taken.
        """
        from sifmake.signing.keystore import new_pair

        return KeyPair(*new_pair(self.folder, name, passphrase))

    def private_keys(self) -> tuple[PrivateKeyFile, ...]:
        """Return the user's private keys, by name."""
        from sifmake.signing.keystore import key_files, secret_path
        from sifmake.signing.trust import read_key_file

        files = key_files(secret_path(self.folder, "x").parent)
        return tuple(PrivateKeyFile(path.stem, b"ENCRYPTED" in read_key_file(path), path) for path in files)

    def trusted_keys(self) -> tuple[PublicKeyFile, ...]:
        """Return the trusted public keys, including those of Apptainer's keyring."""
        from sifmake.signing.keystore import key_files, ring_files, trusted_folder

        files = [*key_files(trusted_folder(self.folder)), *ring_files()]
        return tuple(key for path in files for key in _keys_in(path))

    def import_file(self, path: StrPath) -> KeyImport:
        """Trust the public keys in a file, or keep a private PEM key under the file's name.

        Args:
            path: Public keys (PEM, OpenPGP) or one private PEM key.

        Raises:
            KeyFileError: It holds no usable key, or there is another key with that name.
        """
        from sifmake.signing.keystore import import_keys, import_secret
        from sifmake.signing.trust import is_pem, read_key_file

        file = Path(path)
        data = read_key_file(file)
        if is_pem(data) and b"PRIVATE KEY-----" in data:
            return KeyImport((), import_secret(self.folder, file, data))
        return KeyImport(tuple(import_keys(self.folder, file, data)))

    def find(self, key: str, *, private: bool = False) -> Path:
        """Return the file of a key.

        Args:
            key: Name or fingerprint; for a private key, its name.
            private: Whether it is a private key.

        Raises:
            KeyFileError: There is no such key.
        """
        from sifmake.signing.keystore import find_trusted, is_name, secret_path

        if not private:
            return find_trusted(self.folder, key)
        path = secret_path(self.folder, key)
        if not is_name(key) or not path.is_file():
            hint = "run `sifmake key list --secret` to see your private keys"
            raise KeyFileError("no such private key", where=key, hint=hint)
        return path

    def export(self, key: str, *, private: bool = False) -> bytes:
        """Return a key as the content of a file.

        Args:
            key: See :meth:`find`.
            private: See :meth:`find`.

        Raises:
            KeyFileError: There is no such key.
        """
        return self.find(key, private=private).read_bytes()

    def export_file(self, key: str, target: StrPath, *, private: bool = False, force: bool = False) -> None:
        """Write a key to a file; a private key's file is readable only by the user.

        Args:
            key: See :meth:`find`.
            target: The file.
            private: See :meth:`find`.
            force: Whether to replace an existing target.

        Raises:
            KeyFileError: There is no such key.
            TargetExistsError: The target exists and ``force`` is not set.
            OutputPathError: The target is a folder, or cannot be written.
        """
        data = self.export(key, private=private)
        with output_file(target, force=force, mode=0o600 if private else 0o666) as file:
            file.write(data)

    def remove(self, key: str, *, private: bool = False) -> Path:
        """Stop trusting a public key, or delete a private key; return the path of the removed file.

        Args:
            key: See :meth:`find`.
            private: See :meth:`find`.

        Raises:
            KeyFileError: There is no such key.
        """
        path = self.find(key, private=private)
        path.unlink()
        return path


def _keys_in(path: Path) -> Iterator[PublicKeyFile]:
    from sifmake.signing.trust import load_file

    store = load_file(path)
    for key in store.keys:
        from sifmake.signing.pem import describe

        yield PublicKeyFile(key.key_id, path.stem, describe(key.key), revoked=False, expires=None, path=path)
    for item in store.certificates:
        yield PublicKeyFile(item.fingerprint, item.name, "OpenPGP", item.revoked, item.expires, path)
