"""Which key signs a project's images, and which keys are trusted."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import KeyFileError
from sifmake.project.configuration import DEVELOPMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.project.configuration import Configuration
    from sifmake.signing import Signer, TrustStore

_KEY_SUFFIXES = frozenset({".pem", ".pub", ".asc", ".gpg", ".pgp"})
_DENIED = "denied.txt"


def key_identity(configuration: Configuration) -> str:
    """Return what names the signing key in locks: its fingerprint, ``development``, or empty for none.

    The development key is another one on each machine, so a committed lock names it by that word only. The
    fingerprint is taken from the public key ``KEY.pub`` where it stands beside the key, so that machines without
    the secret, or without its passphrase, can work with the lock.

    Raises:
        KeyFileError: There is no such key, or it cannot be read without a passphrase that is not at hand.
    """
    key = configuration.key
    if key in {"", DEVELOPMENT}:
        return key
    if key.startswith("gpg:"):
        return "gpg:" + key.removeprefix("gpg:").replace(" ", "").upper()
    public = Path(f"{key}.pub")
    if public.exists():
        return _public_fingerprint(public)
    try:
        return load_project_signer(configuration).fingerprint
    except KeyFileError as error:
        raise KeyFileError(error.what, where=error.where, hint=f"put its public key into {public}") from error


def _public_fingerprint(path: Path) -> str:
    from sifmake.signing import TrustStore

    store = TrustStore.load([path])
    names = [*(key.key_id for key in store.keys), *(item.fingerprint for item in store.certificates)]
    return ",".join(names)


def load_project_signer(configuration: Configuration) -> Signer:
    """Return who signs the project's images.

    Raises:
        KeyFileError: The key is missing, or its passphrase is.
    """
    from sifmake.signing import Passphrase, load_signer

    return load_signer(configuration.key, Passphrase())


def load_project_trust(configuration: Configuration) -> TrustStore:
    """Return the keys that the project trusts; the development key only where it also signs."""
    from sifmake.signing import TrustStore, config_folder, development_trust

    trust = TrustStore.load(path for path in configuration.trusted_keys if path.exists())
    return trust.merged(development_trust(config_folder())) if configuration.key == DEVELOPMENT else trust


def trusted_files(configuration: Configuration) -> Iterator[Path]:
    """Yield the files of public keys that the configuration trusts, and of those that it refuses, sorted."""
    for path in configuration.trusted_keys:
        if path.is_dir():
            files = sorted(path.iterdir())
            yield from (file for file in files if file.suffix in _KEY_SUFFIXES or file.name == _DENIED)
        elif path.exists():
            yield path


def trust_digest(configuration: Configuration) -> str:
    """Return a digest that changes when another set of keys is trusted."""
    total = hashlib.sha256()
    for path in trusted_files(configuration):
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return f"sha256:{total.hexdigest()}"
