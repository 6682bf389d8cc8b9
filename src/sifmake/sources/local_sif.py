"""A SIF file on this machine as a source."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import SifmakeError, SourceError
from sifmake.sources.base import no_matter
from sifmake.sources.sif_file import write_sif

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.reference import Uri
    from sifmake.sources.settings import SourceSettings


def open_sif(uri: Uri, settings: SourceSettings) -> LocalSif:
    """Return the file's source.

    Raises:
        SourceError: There is no such file.
    """
    path = Path(uri.rest)
    if path.is_dir():
        raise SourceError("this is a folder, not a SIF file", where=str(path), hint="use oci: for a layout")
    if not path.is_file():
        raise SourceError("there is no such file", where=str(path), hint="check the path")
    return LocalSif(path, settings)


class LocalSif:
    """A SIF file on this machine.

    Attributes:
        transport: ``file``.
        name: The file's name without its folder.
    """

    transport = "file"

    def __init__(self, path: Path, settings: SourceSettings) -> None:
        self.name = path.name
        self._path = path
        self._settings = settings

    def resolve(self) -> str:
        """Return the file's SHA-256."""
        with self._path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def fetch(self, path: Path, expected: str = "", told_size: Callable[[int], object] = no_matter) -> str:
        """Copy the file."""
        size = self._path.stat().st_size
        told_size(size)
        task = self._settings.progress.task(self.name, size)
        try:
            with self._path.open("rb") as file:
                return write_sif(path, file.read, task, limit=self._settings.limits.layer_bytes, expected=expected)
        except SifmakeError as error:
            raise error.within(str(self._path)) from None

    def close(self) -> None:
        """Nothing is held open."""
