"""The SIF file that is run: opened once, and where the configuration asks for signatures, verified as it was opened.

The one door to a file to run: a caller names the image and cannot leave the signature policy out.
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
    """Return the absolute path of the SIF file to run and, where that matters, the file itself, open.

    What was verified, or found in the store, is what is run, whatever takes its name afterwards. Its bytes can still be
    changed by those who may write to the file.

    Args:
        image: A path, or an image URI.
        find: Finds or builds the SIF file of an image URI, with the configuration if it was read already.
        by_path: Whether what runs it opens it by its path: then only a file that was verified stays open.

    Returns:
        The path, and a file descriptor: -1 where the file is opened when it is mounted.

    Raises:
        BadReferenceError: It is neither the path of a file nor an image URI.
        SigningError: It does not verify, or there are no keys to verify it with.
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
    """Whether an image is named by a path: it exists, or nothing in it looks like a transport."""
    return os.path.exists(image) or ":" not in image
