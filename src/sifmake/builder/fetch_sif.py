"""Fetching prebuilt SIF files unchanged, after a check that they are complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import SifError, SourceError
from sifmake.files import replace_file
from sifmake.reference.uri import FILE
from sifmake.room import Need, check_room
from sifmake.sif import open_sif
from sifmake.sif.format import arch_name
from sifmake.temporaries import folder_beside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sifmake.places import Place
    from sifmake.sources.base import SifSource


def fetch_whole(
    source: SifSource,
    target: Path,
    uri: str,
    expected: str = "",
    *,
    outputs: Sequence[Place] = (),
    architecture: str = "",
) -> str:
    """Write a finished SIF file to ``target``, which stays unchanged unless the file is complete.

    The check is needed because a file that is truncated on its server has the length that the server announces, and
    often no digest is known.

    Args:
        source: Provides the file.
        target: The file to write.
        uri: Name of the file in messages.
        expected: SHA-256 that it must have, as ``sha256:...``; empty for any.
        outputs: The files as the user knows them, for the check of free space.
        architecture: Required architecture, in Go's spelling; empty for any. A file that names none is accepted.

    Returns:
        The SHA-256 of the file.

    Raises:
        NoRoomError: There is not enough room; nothing was downloaded.
        SourceError: The file cannot be downloaded, or is for another architecture.
        IntegrityError: It does not have the digest.
        SifError: It is truncated or damaged; ``where`` is ``uri``.
    """
    with folder_beside(target) as folder:
        temporary = folder / target.name
        digest = source.fetch(temporary, expected, lambda size: check_room(Need(place, size) for place in outputs))
        _check_whole(temporary, uri, architecture, of_server=source.transport != FILE)
        replace_file(temporary, target)
    return digest


def _check_whole(path: Path, uri: str, architecture: str, *, of_server: bool) -> None:
    try:
        with open_sif(path) as sif:
            found = arch_name(sif.header.arch)
    except SifError as error:
        hint = "get the file from elsewhere or build it from its image"
        hint = f"the copy on the server is damaged; {hint}" if of_server else hint
        raise SifError(error.what, where=uri, hint=hint) from None
    if architecture and found not in {architecture, "unknown"}:
        hint = f"if this is the file you want, leave out --arch and --platform, or use --arch {found}"
        raise SourceError(f"the SIF file is for {found}, not for {architecture}", where=uri, hint=hint)
