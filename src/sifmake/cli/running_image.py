"""The SIF file that is run: opened once, and where the configuration asks for signatures, verified as it was opened."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.cli.running_parse import Options
    from sifmake.project.configuration import Configuration

_CONFIGURATIONS = ("sifmake.yaml", "config/config.yaml")
"""The first that exists counts; see :func:`~sifmake.project.configuration.find_settings`."""
_SIGNATURE_WORD = b"signature"
"""Only where it stands in the configuration is that read as YAML, which takes a while."""
_DISGUISES = (b"\\", b"\0")
"""What YAML could write the word with otherwise: escapes and UTF-16."""
NO_CACHE = "what is pulled is kept in the store all the same; SIFMAKE_CACHE=DIR names another one, to be removed later"
_OWN_SIGNATURES = "signed files are run by name: `sifmake pull`, `sifmake sign`, or an oras:// URI of a signed SIF file"


def opened_image(options: Options, *, by_path: bool = False) -> tuple[str, int]:
    """Return the absolute path of the SIF file to run and, where that matters, the file itself, open.

    What was verified, or found in the store, is what is run, whatever takes its name afterwards. Its bytes can still be
    changed by those who may write to the file.

    Args:
        options: Name the image.
        by_path: Whether what runs it opens it by its path: then only a file that was verified stays open.

    Returns:
        The path, and a file descriptor: -1 where the file is opened when it is mounted.

    Raises:
        SigningError: It does not verify, or there are no keys to verify it with.
        ConfigError: The configuration cannot be read.
    """
    configuration = _signing_configuration()
    sif, fd = options.image, -1
    if not _is_path(options.image):
        if configuration:
            _refuse_unsigned_kind(options.image)
        sif, fd = _stored_sif(options)
    sif = os.path.abspath(sif)
    if configuration:
        return sif, _verified(sif, configuration, fd)
    if by_path and fd >= 0:
        os.close(fd)
        fd = -1
    return sif, fd


def _is_path(image: str) -> bool:
    """Whether an image is named by a path: it exists, or nothing in it looks like a transport."""
    return os.path.exists(image) or ":" not in image


def _stored_sif(options: Options) -> tuple[str, int]:
    """Return the SIF file in the store that an image's URI comes to, and it open; made now if it is not there."""
    from pathlib import Path

    from sifmake.builder.run_cache import ImageToRun, find_or_build
    from sifmake.cli.console import Console
    from sifmake.end_signals import interrupting

    _refuse_own_options(options)
    console = Console(quiet=options.quiet)
    if options.disable_cache:
        console.warning(f"{options.given['disable_cache']}: {NO_CACHE}")
    auth_file = Path(options.authfile) if options.authfile else None
    try:
        with interrupting():
            found = find_or_build(ImageToRun(options.image, options.offline, options.no_https, auth_file), console)
        return str(found.path), found.fd
    finally:
        console.close()


def _refuse_own_options(options: Options) -> None:
    """Raise UsageError for options of Apptainer's that are done otherwise here."""
    hints = {
        "docker_login": "log in once by `sifmake registry login`",
        "docker_host": "set the variable DOCKER_HOST to it",
    }
    for name, hint in hints.items():
        if getattr(options, name):
            from sifmake.errors import UsageError

            raise UsageError(f"{options.given[name]} is not done here", hint=hint)


def _signing_configuration() -> Configuration | None:
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


def _refuse_unsigned_kind(uri: str) -> None:
    """Refuse an image that cannot be signed, before it is pulled: a SIF file that is made of it has no signature."""
    from sifmake.errors import SigningError
    from sifmake.reference import parse_uri
    from sifmake.reference.uri import SIF_TRANSPORTS

    if parse_uri(uri).transport not in SIF_TRANSPORTS:
        raise SigningError(
            "is not run, for an image of this kind is not signed",
            where=uri,
            hint=f"require-signature is set in {_settings_name()}; {_OWN_SIGNATURES}",
        )


def _verified(sif: str, configuration: Configuration, fd: int = -1) -> int:
    """Open a SIF file, where it is not open yet, and verify it; returns its file descriptor.

    Raises:
        SigningError: It does not verify, is an image of the project and not the one of its lock, or there are no keys.
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
            f"is not run, for it does not verify: {'; '.join(found.reasons[:5])}",
            where=sif,
            hint=f"require-signature is set in {_settings_name()}; sifmake sign signs it, trusted-keys names who may",
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
    """Return the name of the image of the project here that a file is; empty for other files, which have no lock."""
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
    """Raise SigningError if trusted keys cannot be read: what they refuse would be lost with what they allow."""
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
                continue  # its own key is trusted without a file
            raise SigningError(
                f"trusted keys cannot be read: {error.strerror}",
                where=str(path),
                hint=f"require-signature is set in {_settings_name()}; put the keys there or correct trusted-keys",
            ) from None
