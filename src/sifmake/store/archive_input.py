"""Opening an archive for reading by position; standard input is first copied to a file without a name."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sifmake.errors import StoreError
from sifmake.os_errors import name_file, naming
from sifmake.store.scratch import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.store.store import Store

_STANDARD_INPUT = (Path("-"), Path("/dev/stdin"), Path("/dev/fd/0"))


def shown_source(source: Path) -> str:
    """Return an archive's name for messages."""
    return "standard input" if source in _STANDARD_INPUT else str(source)


@contextmanager
def open_archive(source: Path, store: Store) -> Iterator[int]:
    """Open an archive for reading by position.

    Args:
        source: A file, or ``-`` for standard input. Opening does not wait for a named pipe.
        store: Keeps the content of a pipe temporarily.

    Raises:
        StoreError: It is a terminal.
        OSError: From opening, reading or writing.
    """
    with naming(Path(shown_source(source))):
        fd = os.dup(0) if source in _STANDARD_INPUT else os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), shown_source(source))
        if os.isatty(fd):
            raise StoreError("cannot read an archive from a terminal", hint="name a file, or use a pipe")
        if source not in _STANDARD_INPUT or not _is_stream(fd):
            yield fd
            return
        with store.scratch_folder() as scratch, tempfile.TemporaryFile(dir=path_of(scratch)) as copy:
            _copy(fd, copy, scratch.path)
            yield copy.fileno()
    finally:
        os.close(fd)


def _copy(fd: int, copy: BinaryIO, folder: Path) -> None:
    try:
        with os.fdopen(os.dup(fd), "rb") as stream:
            shutil.copyfileobj(stream, copy, 1 << 20)
        copy.flush()
    except OSError as error:
        name_file(error, folder)
        raise


def _is_stream(fd: int) -> bool:
    """Tell whether an open file is not seekable, or is not at its start, so that the rest has to be copied."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.lseek(fd, 0, os.SEEK_CUR) != 0
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
