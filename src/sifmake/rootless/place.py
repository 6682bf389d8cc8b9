"""The folder of one run, locked while it is in use, so that the remains of a killed run can be removed."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sifmake.rootless.errors import RootlessError
from sifmake.rootless.unpacking import remove_tree
from sifmake.temporaries import TRIES, claim, is_unlocked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.rootless.request import Mode

_PREFIX = "run-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class RunPlace(NamedTuple):
    """A folder for one run.

    Attributes:
        path: The folder.
        lock: Its descriptor, locked. The keeper gets it too: the folder is in use until both processes have ended.
    """

    path: Path
    lock: int


@contextmanager
def new_place(scratch: Path, mode: Mode) -> Iterator[RunPlace]:
    """Create a folder and remove it at the end; first remove what killed runs left next to it.

    Raises:
        OSError: It cannot be created or removed.
    """
    _sweep(scratch, mode)
    path, lock = _make(scratch)
    try:
        yield RunPlace(path, lock)
    finally:
        os.close(lock)
        with suppress(FileNotFoundError):
            remove_tree(path, mode)


def _make(scratch: Path) -> tuple[Path, int]:
    """Create a folder; return its path and a locked descriptor. Others may sweep it before it is locked."""
    for _ in range(TRIES):
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=scratch))
        with suppress(FileNotFoundError):
            lock = os.open(path, _FOLDER)
            if claim(lock, str(path)):
                return path, lock
            os.close(lock)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(scratch))


def _sweep(scratch: Path, mode: Mode) -> None:
    """Remove the folders of runs that have ended; what cannot be removed stays."""
    for path in scratch.glob(f"{_PREFIX}*"):
        with suppress(OSError, RootlessError):
            fd = os.open(path, _FOLDER)
            try:
                if is_unlocked(fd):
                    remove_tree(path, mode)
            finally:
                os.close(fd)
