"""The user's private keys and trusted keys, as files in the configuration folder (folders 0700, secrets 0600).

keys/secret/NAME.pem     Ed25519 private key, PKCS#8
keys/trusted/NAME.pem    trusted raw public key
keys/trusted/FPR.asc     trusted OpenPGP certificate
keys/trusted/denied.txt  denied fingerprints
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import KeyFileError
from sifmake.files import exists_quietly, make_folders, write_and_link, write_atomic
from sifmake.signing.key_forms import KINDS
from sifmake.signing.passphrase import Passphrase
from sifmake.signing.trust import SUFFIXES, TrustStore, is_pem, load_file, load_keys, normalized, read_key_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sifmake.signing.certificates import Certificate

_DEVELOPMENT_NAME = "development"
_ELSEWHERE = "set SIFMAKE_CONFIG_DIR to a folder of yours, or use --key with the key's file"


def config_folder() -> Path:
    """Return ``$SIFMAKE_CONFIG_DIR``, else ``sifmake`` in ``$XDG_CONFIG_HOME`` or ``~/.config``.

    A relative ``XDG_CONFIG_HOME`` is ignored (XDG base directory specification 0.8).

    Raises:
        KeyFileError: The folder cannot be read, or there is no home directory. Continuing without the list of denied
            keys would mean trusting them.
    """
    own, base = os.environ.get("SIFMAKE_CONFIG_DIR"), Path(os.environ.get("XDG_CONFIG_HOME", ""))
    try:
        folder = Path(own) if own else (base if base.is_absolute() else Path.home() / ".config") / "sifmake"
    except RuntimeError:
        raise KeyFileError("there is no home directory for your keys", hint=_ELSEWHERE) from None
    try:
        (folder / "keys").exists()
    except OSError as error:
        what = f"the folder of your keys cannot be read: {error.strerror}"
        raise KeyFileError(what, where=str(folder), hint=_ELSEWHERE) from None
    return folder


def is_name(text: str) -> bool:
    """Whether a text is a valid name for a key."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}", text) is not None


def secret_path(config: Path, name: str) -> Path:
    """Return the path of the private key with a name."""
    return config / "keys" / "secret" / f"{name}.pem"


def trusted_folder(config: Path) -> Path:
    """Return the folder of trusted public keys."""
    return config / "keys" / "trusted"


def _private_folder(folder: Path) -> None:
    """Create a folder for keys that only the user can enter."""
    make_folders(folder, 0o700)
    for part in (folder, folder.parent):
        part.chmod(0o700)


def apptainer_ring() -> Path:
    """Return Apptainer's keyring of public keys."""
    folder = os.environ.get("APPTAINER_KEYSDIR")
    base = os.environ.get("APPTAINER_CONFIGDIR")
    keys = Path(folder) if folder else (Path(base) if base else Path("~/.apptainer")) / "keys"
    return Path(os.path.expanduser(keys / "pgp-public"))  # noqa: PTH111  # Path.expanduser fails if there is no home


def ring_files() -> list[Path]:
    """Return the path of Apptainer's keyring of public keys, if it exists and is not empty, as a list."""
    ring = apptainer_ring()
    return [ring] if exists_quietly(ring) and ring.is_file() and ring.stat().st_size else []


def default_trust(config: Path | None = None) -> TrustStore:
    """Return the keys that a user trusts: trusted keys, Apptainer's public keyring and the user's development key."""
    config = config_folder() if config is None else config
    folder = trusted_folder(config)
    store = TrustStore.load([*([folder] if folder.is_dir() else []), *ring_files()])
    return store.merged(development_trust(config))


def development_trust(config: Path) -> TrustStore:
    """Return a store with the public part of the user's development key; empty if none was made yet."""
    path = secret_path(config, _DEVELOPMENT_NAME)
    if not path.is_file():
        return TrustStore()
    from sifmake.signing.pem import key_id, load_private
    from sifmake.signing.trust import TrustedKey

    public = load_private(read_key_file(path), str(path), Passphrase()).public_key()
    return TrustStore(keys=(TrustedKey(key_id(public), _DEVELOPMENT_NAME, public, development=True),))


def development_key(config: Path) -> Path:
    """Return the file of the user's development key, which is made on first use; several processes may call this."""
    path = secret_path(config, _DEVELOPMENT_NAME)
    if not path.is_file():
        from sifmake.signing.pem import new_private, private_bytes

        _private_folder(path.parent)
        _write_new(path, private_bytes(new_private()), keep=True)
    return path


def _write_new(path: Path, data: bytes, *, keep: bool = False) -> None:
    """Write a file with mode 0600 that appears complete or not at all, and replaces nothing.

    Args:
        path: The file.
        data: Its content.
        keep: Whether to keep an existing file instead of raising an error.

    Raises:
        KeyFileError: The file exists.
    """
    try:
        write_and_link(path, data, 0o600)
    except FileExistsError:
        if not keep:
            raise KeyFileError("a key with this name exists", where=str(path), hint="remove it first") from None


def new_pair(config: Path, name: str, passphrase: str) -> tuple[Path, Path]:
    """Make an Ed25519 key pair and trust its public half; return the files of the private and the public key.

    Raises:
        KeyFileError: The name is not valid, or is taken.
    """
    from sifmake.signing.pem import new_private, private_bytes, public_bytes

    if not is_name(name):
        raise KeyFileError(f"{name!r:.80} is not a valid name for a key", hint="use letters, digits and ._@+-")
    if name == _DEVELOPMENT_NAME:
        what = f"{name!r} is the name of the key that builds make automatically"
        raise KeyFileError(what, hint="choose another name")
    secret, public = secret_path(config, name), trusted_folder(config) / f"{name}.pem"
    if public.exists():
        raise KeyFileError("a key with this name exists", where=str(public), hint="remove it first")
    for folder in (secret.parent, public.parent):
        _private_folder(folder)
    key = new_private()
    _write_new(secret, private_bytes(key, passphrase))
    _write_new(public, public_bytes(key.public_key()))
    return secret, public


def import_keys(config: Path, path: Path, data: bytes) -> list[str]:
    """Trust the public keys in the content of a file; return a line for each.

    Raises:
        KeyFileError: The file has no public key, or another key with that name exists.
    """
    folder = trusted_folder(config)
    store = load_keys(data, path)
    if is_pem(data):
        name = re.sub(r"[^A-Za-z0-9._@+-]+", "-", path.stem).strip("-._") or "key"
        return [_import_one(folder / f"{name}.pem", data, store.keys[0].key_id)]
    usable = [item for item in store.certificates if item.usable]
    if not usable:
        what = "the key is too weak, of an unsupported kind, or has no strong self-signature"
        raise KeyFileError(what, where=str(path), hint=f"for OpenPGP, {KINDS}")
    return [_import_certificate(folder / f"{item.fingerprint}.asc", item) for item in usable]


def import_secret(config: Path, path: Path, data: bytes) -> Path:
    """Keep a copy of a private PEM key from the content of a file; return the path of the copy.

    Raises:
        KeyFileError: The key cannot sign, the file's name is not valid for a key, or the name is taken. The kind of an
            encrypted key cannot be checked here.
    """
    from sifmake.signing.pem import load_plain

    load_plain(data, str(path))
    if not is_name(path.stem) or path.stem == _DEVELOPMENT_NAME:
        raise KeyFileError(f"{path.stem!r:.80} is not a valid name for a key", hint="rename the file")
    target = secret_path(config, path.stem)
    _private_folder(target.parent)
    _write_new(target, data)
    return target


def _import_one(target: Path, data: bytes, label: str) -> str:
    """Write one trusted raw key; return its label."""
    _private_folder(target.parent)
    if not target.exists() or read_key_file(target) != data:
        _write_new(target, data)
    return label


def _import_certificate(target: Path, item: Certificate) -> str:
    """Write or update one trusted OpenPGP certificate; return its label."""
    from sifmake.signing.certificates import united

    _private_folder(target.parent)
    known = load_file(target).certificates if target.exists() else ()
    for one in united((*known, item)):
        write_atomic(target, str(one.cert).encode(), 0o600)
    return f"{item.fingerprint} {item.name}".rstrip()


def find_trusted(config: Path, wanted: str) -> Path:
    """Return the file of a trusted key by file name, name or fingerprint.

    Raises:
        KeyFileError: There is no such key.
    """
    folder = trusted_folder(config)
    for path in key_files(folder):
        if wanted in (path.name, path.stem) or _fingerprint_matches(path, wanted):
            return path
    raise KeyFileError("no such trusted key", where=wanted, hint="run `sifmake key list` to see your trusted keys")


def _fingerprint_matches(path: Path, wanted: str) -> bool:
    """Whether a key file contains the key with a fingerprint."""
    try:
        fingerprint = normalized(wanted)
    except KeyFileError:
        return False
    store = load_file(path)
    return fingerprint in {*(key.key_id for key in store.keys), *(cert.fingerprint for cert in store.certificates)}


def key_files(folder: Path) -> Sequence[Path]:
    """Return the key files in a folder, by name."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if path.suffix in SUFFIXES and path.is_file()]
