"""``require-signature``: only verified files run; the configuration decides that, not the caller.

Every run imports this module, so it imports other modules only where they are used.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.project.configuration import Configuration
    from sifmake.reference import Uri

_CONFIGURATIONS = ("sifmake.yaml", "config/config.yaml")
"""The first one that exists is used; see :func:`~sifmake.project.configuration.find_settings`."""
_SIGNATURE_WORD = b"signature"
"""The configuration is parsed as YAML, which is slow, only if it contains this word."""
_DISGUISES = (b"\\", b"\0")
"""Bytes with which YAML could write the word in another way: escapes and UTF-16."""
_OWN_SIGNATURES = "run a signed file instead: `sifmake pull` and `sifmake sign` make one; an oras:// URI may name one"


def signing_configuration() -> Configuration | None:
    """Return the project's configuration if it asks for signatures. Raises ConfigError if it cannot be read."""
    text = _settings_text()
    if _SIGNATURE_WORD not in text and not any(mark in text for mark in _DISGUISES):
        return None
    from pathlib import Path

    from sifmake.project.project import Project

    configuration = Project(Path.cwd()).configuration
    return configuration if configuration.require_signature else None


def _settings_text() -> bytes:
    for name in _CONFIGURATIONS:
        try:
            with open(name, "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            continue
    return b""


def _settings_name() -> str:
    return next((name for name in _CONFIGURATIONS if os.path.exists(name)), _CONFIGURATIONS[0])


def refuse_unsigned_kind(uri: Uri) -> None:
    """Refuse an image before it is pulled if its SIF file cannot be signed."""
    from sifmake.errors import SigningError

    if not uri.is_sif:
        raise SigningError(
            "refusing to run: images from this source cannot be signed",
            where=uri.given,
            hint=f"require-signature is set in {_settings_name()}; {_OWN_SIGNATURES}",
        )


def open_verified(sif: str, configuration: Configuration, fd: int = -1) -> int:
    """Open a SIF file unless it is open, and verify it; return its file descriptor.

    Raises:
        SigningError: It does not verify, does not match its lock in the project, or there are no keys.
        LockError: The lock is damaged.
    """
    from pathlib import Path

    from sifmake.errors import SigningError
    from sifmake.project.keys import load_project_trust
    from sifmake.signing import verify_open

    _check_keys(configuration)
    if fd < 0:
        fd = os.open(sif, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    found = verify_open(fd, Path(sif), load_project_trust(configuration), limits=configuration.limits)
    if found.exit_code:
        raise SigningError(
            f"refusing to run: the file does not verify: {'; '.join(found.reasons[:5])}",
            where=sif,
            hint=f"require-signature is set in {_settings_name()}; run `sifmake sign`, or add its key to trusted-keys",
        )
    if name := _image_of(sif):
        from sifmake.builder.image_signing import header_before
        from sifmake.builder.lock_match import check_match
        from sifmake.project.project import Project
        from sifmake.sif import read_sif

        project = Project(Path.cwd())
        check_match(read_sif(fd, Path(sif)), found, project.lock(name), header_before(project, name))
    return fd


def _image_of(sif: str) -> str:
    """Return the name of the image in the current project to which a file belongs; empty for files without a lock."""
    from pathlib import Path

    from sifmake.project.stage_table import LOCK, TARGET, path_of

    here = Path.cwd()
    for path in (Path(sif), Path(sif).resolve()):
        lock = path_of(here, LOCK, path.stem)
        own = path_of(here, TARGET, path.stem)
        if own.name == path.name and own.parent.resolve() == path.parent.resolve() and lock.exists():
            return path.stem
    return ""


def _check_keys(configuration: Configuration) -> None:
    """Raise SigningError if trusted keys cannot be read, because their denials would be lost, too."""
    from sifmake.errors import SigningError
    from sifmake.project.configuration import DEVELOPMENT

    for path in configuration.trusted_keys:
        try:
            if os.path.isdir(path):
                os.listdir(path)
            else:
                os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            if isinstance(error, FileNotFoundError) and configuration.key == DEVELOPMENT:
                continue  # the project's own key is trusted without a file
            raise SigningError(
                f"trusted keys cannot be read: {error.strerror}",
                where=str(path),
                hint=f"require-signature is set in {_settings_name()}; put the keys there or correct trusted-keys",
            ) from None
