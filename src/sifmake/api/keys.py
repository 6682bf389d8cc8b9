"""The user's keys: those that sign, and those that are trusted."""

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
        public: File of the public key, for those who verify.
    """

    private: Path
    public: Path


@dataclass(frozen=True)
class PrivateKeyFile:
    """A private key of the user's.

    Attributes:
        name: What :func:`sign` takes as ``key``.
        protected: Whether it has a passphrase.
        path: The file.
    """

    name: str
    protected: bool
    path: Path


@dataclass(frozen=True)
class PublicKeyFile:
    """A public key that is trusted.

    Attributes:
        fingerprint: As OpenSSH writes it for raw keys, hexadecimal for OpenPGP.
        name: Of the file, or the user ID of an OpenPGP key.
        kind: Such as ``Ed25519`` or ``OpenPGP``.
        revoked: Whether it is revoked, so that it verifies nothing.
        expires: When it ends; None for never.
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
        trusted: A label for each public key that is trusted from now on.
        private: The copy of a private key; None where the file holds public keys.
    """

    trusted: tuple[str, ...]
    private: Path | None = None


class Keyring:
    """The user's keys, as ``sifmake key`` shows and changes them."""

    def __init__(self, folder: StrPath | None = None) -> None:
        """Look into a folder.

        Args:
            folder: Configuration folder; None for ``$SIFMAKE_CONFIG_DIR``, else ``~/.config/sifmake``. Functions that
                are given a key by its name look into the latter.
        """
        self._folder = as_path(folder)

    def __repr__(self) -> str:
        return f"Keyring({str(self.folder)!r})"

    @property
    def folder(self) -> Path:
        """The configuration folder.

        Raises:
            KeyFileError: It cannot be looked into, or there is no home directory.
        """
        from sifmake.signing.keystore import config_folder

        return self._folder or config_folder()

    def new_pair(self, name: str = "default", passphrase: str = "") -> KeyPair:
        """Make an Ed25519 key pair and trust its public half.

        Args:
            name: What :func:`sign` takes as ``key``.
            passphrase: Protects the private key; without one it is kept unencrypted, readable by the user alone.

        Raises:
            KeyFileError: The name is not usable, or taken.
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
        """Return the public keys that are trusted, those of Apptainer's keyring among them."""
        from sifmake.signing.keystore import key_files, ring_files, trusted_folder

        files = [*key_files(trusted_folder(self.folder)), *ring_files()]
        return tuple(key for path in files for key in _keys_in(path))

    def import_file(self, path: StrPath) -> KeyImport:
        """Trust the public keys in a file, or keep a private PEM key under the file's name.

        Args:
            path: Public keys (PEM, OpenPGP) or one private PEM key.

        Raises:
            KeyFileError: It holds no key that can be used, or there is another key of that name.
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
            KeyFileError: There is none.
        """
        from sifmake.signing.keystore import find_trusted, is_name, secret_path

        if not private:
            return find_trusted(self.folder, key)
        path = secret_path(self.folder, key)
        if not is_name(key) or not path.is_file():
            hint = "sifmake key list --secret shows those you have"
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
        """Write a key to a file; that of a private key is readable by the user alone.

        Args:
            key: See :meth:`find`.
            target: The file.
            private: See :meth:`find`.
            force: Whether an existing target is replaced.

        Raises:
            KeyFileError: There is no such key.
            TargetExistsError: The target exists and ``force`` is not set.
            OutputPathError: The target is a folder, or cannot be written.
        """
        data = self.export(key, private=private)
        with output_file(target, force=force, mode=0o600 if private else 0o666) as file:
            file.write(data)

    def remove(self, key: str, *, private: bool = False) -> Path:
        """Trust a public key no longer, or delete a private key; return the file that is gone.

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
