"""A SIF file that is complete in its folder, but not safe on the disk, and has no name yet.

A program can run from it while another process finishes it.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from sifmake.files import OpenTarget, open_temporary
from sifmake.os_errors import naming
from sifmake.store.sifs import remove_others
from sifmake.store.stored_files import Found

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sifmake.store.folder import Folder


class UnfinishedSif:
    """A new file, locked while it is open, so that no other process takes it for a leftover.

    Attributes:
        target: The file, for writing.
        left: Whether another process finishes or removes it.
    """

    def __init__(self, folder: Folder, key: str, path: Path, file: BinaryIO, temporary: str) -> None:
        self.target = OpenTarget(path, file)
        self.left = False
        self._folder = folder
        self._key = key
        self._temporary = temporary

    def found(self, sha256: str) -> Found:
        """Return the written file, open for reading, under the path that it will have.

        Args:
            sha256: The SHA-256 of the file.

        Raises:
            OSError: From writing.
        """
        path, file = self.target
        with naming(path):
            file.flush()
            fd = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
        return Found(path.with_name(self._name(sha256)), fd)

    def finish(self, sha256: str) -> None:
        """Sync the file and give it its name; if that fails, remove it.

        Args:
            sha256: The SHA-256 of the file.

        Raises:
            OSError: From fsync or rename.
        """
        name, (path, file), folder = self._name(sha256), self.target, self._folder
        try:
            with naming(path):
                os.fchmod(file.fileno(), folder.rules.access.file(stat.S_IMODE(os.fstat(file.fileno()).st_mode)))
                os.fsync(file.fileno())
            self._rename(name)
        except BaseException:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=folder.fd)
            raise
        folder.sync()
        remove_others(folder, self._key, name)

    def _rename(self, name: str) -> None:
        try:
            os.replace(self._temporary, name, src_dir_fd=self._folder.fd, dst_dir_fd=self._folder.fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.target.path)) from None

    def _name(self, sha256: str) -> str:
        return f"{self._key}.{sha256}.sif"


@contextmanager
def begin_sif(folder: Folder, key: str) -> Iterator[UnfinishedSif]:
    """Create an unfinished file in a folder; at the end of the block it is removed unless it was finished or left.

    Raises:
        OSError: It cannot be created.
    """
    path = folder.path / f"{key}.sif"
    with open_temporary(path, folder.rules.access.file(0o777), folder.fd) as (temporary, file):
        unfinished = UnfinishedSif(folder, key, path, file, temporary)
        yield unfinished
        if not unfinished.left:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder.fd)
