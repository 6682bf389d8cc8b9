"""Signing with the project's key, and verifying with the project's trusted keys."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.builder.prebuilt_match import recorded_header
from sifmake.errors import LockError, SigningError
from sifmake.files import sha256_of
from sifmake.project.configuration import DEVELOPMENT
from sifmake.project.keys import load_project_signer, load_project_trust
from sifmake.project.stage_table import TARGET
from sifmake.threads import Threads

if TYPE_CHECKING:
    from sifmake.progress import Progress
    from sifmake.project.configuration import Configuration
    from sifmake.project.locks import AnyLock
    from sifmake.project.project import Project

_OWN_KEY = "name a key of yours as 'key' in sifmake.yaml"
_KEPT = "as it came"
_REFUSE_VARIABLE = "SIFMAKE_REFUSE_DEVELOPMENT"
"""Set by the shipped schedules: they refuse to publish files that only this machine trusts."""


def check_key(project: Project, lock: AnyLock) -> None:
    """Check that the configured key may sign the image of a lock.

    Raises:
        LockError: The lock names another key than the configuration.
        SigningError: The key is the development key, and this is a scheduled run.
    """
    if project.key_identity != lock.build.key:
        what = f"the lock names the key {lock.build.key}, the configuration {project.key_identity or 'none'}"
        raise LockError(what, hint="run `sifmake lock --offline`")
    if project.configuration.key == DEVELOPMENT:
        _refuse_development(scheduled=project.modes.scheduled)


def sign_unsigned(project: Project, path: Path, objects: dict[str, str]) -> str:
    """Append the project's signature to a SIF and return the signer's fingerprint.

    Args:
        project: Names the key.
        path: The SIF; unchanged after an error.
        objects: Digests of the SIF's objects from its record, so that the file is not read again; empty for a prebuilt
            file.

    Returns:
        The signer's fingerprint; :data:`_KEPT` for a prebuilt file that is already signed, which stage verify checks.

    Raises:
        SigningError: It cannot be signed.
        KeyFileError: The key is missing, or its passphrase is.
    """
    if not objects and _is_signed(path):
        return _KEPT
    digests = {int(number): digest.removeprefix("sha256:") for number, digest in objects.items()}
    return _sign(project.configuration, path, digests, project.progress)


def sign_and_verify(configuration: Configuration, path: Path, digests: dict[int, str], progress: Progress) -> None:
    """Append the configured key's signature to a SIF and verify it with the configured trusted keys.

    Args:
        configuration: Names key and trusted keys.
        path: The SIF.
        digests: Hex SHA-256 of the SIF's objects by number.
        progress: Gets a warning if the key is the development key.

    Raises:
        SigningError: It cannot be signed or does not verify.
        KeyFileError: The key is missing, or its passphrase is.
    """
    _sign(configuration, path, digests, progress)
    with path.open("rb") as file:
        _judge(configuration, path, file.fileno())


def _is_signed(path: Path) -> bool:
    from sifmake.sif import DataType, open_sif

    with open_sif(path) as sif:
        return bool(sif.find(DataType.SIGNATURE))


def _sign(configuration: Configuration, path: Path, digests: dict[int, str], progress: Progress) -> str:
    from sifmake.signing import sign_file

    if configuration.key == DEVELOPMENT:
        _warn_of_development(progress)
    return sign_file(path, path, load_project_signer(configuration), digests).fingerprint


def _warn_of_development(progress: Progress) -> None:
    _refuse_development()
    progress.warning(f"signing with the development key, which only this machine trusts; {_OWN_KEY}")


def _refuse_development(*, scheduled: bool = False) -> None:
    if scheduled or os.environ.get(_REFUSE_VARIABLE):
        raise SigningError("a scheduled run must not publish files signed with the development key", hint=_OWN_KEY)


def verify_signed(project: Project, path: Path, lock: AnyLock, header: bytes = b"") -> dict[str, Any]:
    """Verify a SIF and return the content of its receipt; an unsigned file passes only if the lock names no key.

    Args:
        project: Provides the trusted keys.
        path: The SIF.
        lock: The lock that it must match.
        header: See :func:`~sifmake.builder.lock_match.check_match`.

    Raises:
        SigningError: It does not verify, or is not the image that the lock describes.
    """
    with path.open("rb") as file, Threads(1) as threads:
        fd = file.fileno()
        # Read the open file that was verified, even if its path is replaced in between.
        digest = threads.submit(sha256_of, Path(f"/proc/self/fd/{fd}"))
        trust, signers = _judge(project.configuration, path, fd, lock, header) if lock.build.key else ("unsigned", [])
        size = os.fstat(fd).st_size
    return {"sha256": f"sha256:{digest.result()}", "signers": signers, "size": size, "trust": trust}


def check_published(project: Project, image: str) -> None:
    """Verify the published file of an image whose lock has a key, because a swapped file may look up to date.

    Raises:
        SigningError: It does not verify, or is not the image that the lock describes.
    """
    lock = project.lock(image)
    if lock.build.key:
        verify_signed(project, project.path(TARGET, image), lock, header_before(project, image))


def header_before(project: Project, image: str) -> bytes:
    """Return the header of a prebuilt file before it was signed, from the records; empty for other images."""
    return recorded_header(*(project.record(stage, image) for stage in ("sign", "publish")))


def _judge(
    configuration: Configuration, path: Path, fd: int, lock: AnyLock | None = None, header: bytes = b""
) -> tuple[str, list[str]]:
    from sifmake.builder.lock_match import check_match
    from sifmake.sif import read_sif
    from sifmake.signing import verify_open

    found = verify_open(fd, path, load_project_trust(configuration), limits=configuration.limits)
    if found.exit_code:
        hint = "check 'trusted-keys' in sifmake.yaml"
        raise SigningError(f"the file does not verify: {'; '.join(found.reasons[:5])}", where=str(path), hint=hint)
    if lock is not None:
        check_match(read_sif(fd, path), found, lock, header)
    signers = [signer for check in found.signatures for signer in check.signers]
    trust = DEVELOPMENT if any(signer.development for signer in signers) else "trusted"
    return trust, sorted(signer.fingerprint for signer in signers)
