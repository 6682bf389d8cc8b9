"""The key that signs a project's images, and the keys that it trusts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import KeyFileError
from sifmake.project.configuration import DEVELOPMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.project.configuration import Configuration
    from sifmake.signing import Passphrase, Signer, TrustStore

_KEY_SUFFIXES = frozenset({".pem", ".pub", ".asc", ".gpg", ".pgp"})
_DENIED = "denied.txt"


def key_identity(configuration: Configuration) -> str:
    """Return the name of the signing key in locks: its fingerprint, ``development``, or empty for none.

    Each machine has a different development key, so a committed lock only contains that word. If the private key or its
    passphrase is missing, the fingerprint comes from the public key: the file beside the key with the suffix ``.pub``,
    or the file with the key's name among the user's and the project's trusted keys.

    Raises:
        KeyFileError: There is no such key, or reading it needs a passphrase that is not available.
    """
    key = configuration.key
    if key in {"", DEVELOPMENT}:
        return key
    if key.startswith("gpg:"):
        return "gpg:" + key.removeprefix("gpg:").replace(" ", "").upper()
    public = Path(f"{key}.pub")
    if public.exists():
        return _public_fingerprint(public)
    from sifmake.signing import load_signer

    try:
        return load_signer(key, _nobody_asked()).fingerprint
    except KeyFileError as error:
        found = next((path for path in _public_files(configuration) if path.is_file()), None)
        if found is not None:
            return _public_fingerprint(found)
        hint = f"export its public key: run `sifmake key export {key} config/keys/{_name_of(key)}.pem"
        raise KeyFileError(error.what, where=error.where, hint=hint) from error


def _nobody_asked() -> Passphrase:
    """Return a passphrase source that never asks, because a fingerprint is not worth a question to the user."""
    from sifmake.signing import Passphrase

    class NobodyAsked(Passphrase):
        def known(self) -> str | None:
            return None

        def __call__(self, key: str) -> str:
            raise KeyFileError("the key has a passphrase", where=key)

    return NobodyAsked()


def _public_files(configuration: Configuration) -> Iterator[Path]:
    """Yield the paths at which the public half of the signing key may be."""
    from sifmake.signing import keystore

    key = Path(configuration.key)
    yield key.with_suffix(".pub")
    name = _name_of(configuration.key)
    if keystore.is_name(configuration.key):
        yield keystore.trusted_folder(keystore.config_folder()) / f"{name}.pem"
    yield from (path for path in trusted_files(configuration) if path.stem == name and path.suffix in _KEY_SUFFIXES)


def _name_of(key: str) -> str:
    """Return the name of a key: the name of its file without the suffix."""
    path = Path(key)
    return path.stem if path.suffix in _KEY_SUFFIXES else path.name


def _public_fingerprint(path: Path) -> str:
    from sifmake.signing import TrustStore

    store = TrustStore.load([path])
    names = [*(key.key_id for key in store.keys), *(item.fingerprint for item in store.certificates)]
    return ",".join(names)


def load_project_signer(configuration: Configuration) -> Signer:
    """Return the signer of the project's images.

    Raises:
        KeyFileError: The key or its passphrase is missing.
    """
    from sifmake.signing import Passphrase, load_signer

    return load_signer(configuration.key, Passphrase(ask=configuration.ask))


def load_project_trust(configuration: Configuration) -> TrustStore:
    """Return the keys that the project trusts; the development key only if it also signs."""
    from sifmake.signing import TrustStore, config_folder, development_trust

    trust = TrustStore.load(path for path in configuration.trusted_keys if path.exists())
    return trust.merged(development_trust(config_folder())) if configuration.key == DEVELOPMENT else trust


def trusted_files(configuration: Configuration) -> Iterator[Path]:
    """Yield the files of public keys that the configuration trusts or refuses, sorted."""
    for path in configuration.trusted_keys:
        if path.is_dir():
            files = sorted(path.iterdir())
            yield from (file for file in files if file.suffix in _KEY_SUFFIXES or file.name == _DENIED)
        elif path.exists():
            yield path


def trust_digest(configuration: Configuration) -> str:
    """Return a digest that changes if the set of trusted keys changes."""
    from sifmake.signing.trust import read_listed

    total = hashlib.sha256()
    for path in trusted_files(configuration):
        total.update(hashlib.sha256(read_listed(path)).digest())
    return f"sha256:{total.hexdigest()}"
