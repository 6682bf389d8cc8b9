"""Open the SIF file to run once and, if the configuration requires signatures, verify the open file.

All runs go through this module, so no caller can skip the signature policy.
"""

from __future__ import annotations

import os

from sifmake.builder.signature_policy import open_verified, refuse_unsigned_kind, signing_configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.project.configuration import Configuration
    from sifmake.reference import Uri
    from sifmake.store.stored_files import Found


def open_image_to_run(
    image: str, find: Callable[[Uri, Configuration | None], Found], *, by_path: bool = False
) -> tuple[str, int]:
    """Return the absolute path of the SIF file to run and, if it matters, its open descriptor.

    The file that was verified, or found in the store, is the one that runs, even if its path is replaced afterwards.
    Anyone with write access can still modify the file.

    Args:
        image: A path, or an image URI.
        find: Finds or builds the SIF file of an image URI, with the configuration if it was read already.
        by_path: Whether the back end opens the file by its path; then only a verified file is kept open.

    Returns:
        The path, and a file descriptor; -1 if the file will be opened when it is mounted.

    Raises:
        BadReferenceError: It is neither the path of a file nor an image URI.
        SigningError: The file does not verify, or there are no keys to verify it with.
        ConfigError: The configuration cannot be read.
    """
    configuration = signing_configuration()
    sif, fd = image, -1
    if not _is_path(image):
        from sifmake.reference import parse_uri

        uri = parse_uri(image)
        if configuration:
            refuse_unsigned_kind(uri)
        found = find(uri, configuration)
        sif, fd = str(found.path), found.fd
    sif = os.path.abspath(sif)
    if configuration:
        return sif, open_verified(sif, configuration, fd)
    if by_path and fd >= 0:
        os.close(fd)
        fd = -1
    return sif, fd


def _is_path(image: str) -> bool:
    """Whether an image is named by a path: the path exists, or it does not begin with a transport."""
    return os.path.exists(image) or ":" not in image
