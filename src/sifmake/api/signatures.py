"""Signatures of SIF files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.api.common import StrPath, as_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sifmake.signing.passphrase import Passphrase
    from sifmake.signing.sign import SignatureInfo
    from sifmake.signing.verdict import Verification


def sign(
    sif: StrPath,
    key: StrPath | Iterable[StrPath],
    *,
    passphrase: str | Callable[[str], str] | None = None,
    group: int | None = None,
    object_id: int | None = None,
) -> SignatureInfo:
    """Add a digital signature to a SIF file, as ``sifmake sign`` does.

    Args:
        sif: The file; unchanged after an error.
        key: A private key: a PEM or OpenPGP file, the name of a key made by :meth:`Keyring.new_pair`, or
            ``gpg:FINGERPRINT``; several PEM keys make one signature that each of their public keys verifies.
        passphrase: Passphrase of the key, or a function that takes a question and returns it, called only if the
            variable ``SIFMAKE_PASSPHRASE`` is not set. By default only that variable is used.
        group: Sign this object group only.
        object_id: Sign this object only.

    Raises:
        KeyFileError: The key is missing, or its passphrase is missing or wrong.
        SigningError: The file cannot be signed with the key.
        SifError: It is not a SIF file.
    """
    from sifmake.signing import load_signer, sign_file

    keys = [os.fspath(key)] if isinstance(key, str | os.PathLike) else [os.fspath(item) for item in key]
    path = Path(sif)
    return sign_file(path, path, load_signer(keys, _passphrase(passphrase)), group=group, object_id=object_id)


def _passphrase(given: str | Callable[[str], str] | None) -> Passphrase:
    from sifmake.signing.passphrase import Passphrase

    if given is None or isinstance(given, str):
        return Passphrase(text=given)
    return given if isinstance(given, Passphrase) else Passphrase(ask=given)


def verify(
    sif: StrPath,
    *,
    keys: StrPath | Iterable[StrPath] = (),
    deny: StrPath | None = None,
    group: int | None = None,
    object_id: int | None = None,
) -> Verification:
    """Check the digital signatures of a SIF file, as ``sifmake verify`` does, without any network access.

    Args:
        sif: The file.
        keys: Public keys (PEM, OpenPGP, or folders of them) to trust instead of the user's trusted keys.
        deny: File with fingerprints to refuse, one per line.
        group: Check this object group only.
        object_id: Check this object only.

    Returns:
        Who signed the file and what the signatures cover. Returned only if the file verified.

    Raises:
        NotVerifiedError: The file is unsigned, altered, or not signed by a trusted key; ``verification`` has details.
        SifError: It is not a SIF file, or has no such group or object.
        KeyFileError: A key cannot be read.
    """
    from sifmake.signing import TrustStore, default_trust, verify_file
    from sifmake.signing.trust import read_denied
    from sifmake.signing.verdict import NotVerifiedError, Verdict

    places = [Path(keys)] if isinstance(keys, str | os.PathLike) else [Path(item) for item in keys]
    trust = TrustStore.load(places) if places else default_trust()
    if (denied := as_path(deny)) is not None:
        trust = trust.merged(TrustStore(denied=read_denied(denied)))
    found = verify_file(Path(sif), trust, group=group, object_id=object_id)
    if found.verdict is not Verdict.VERIFIED:
        raise NotVerifiedError(found)
    return found
