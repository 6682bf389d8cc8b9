"""A private folder of one process in a store, for code that writes by path; no one can redirect that path."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import StoreError
from sifmake.os_errors import path_in
from sifmake.temporaries import MARK, TRIES, claim, temporary_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.store.folder import Folder

_OTHERS = 0o077


@contextmanager
def open_scratch(parent: Folder) -> Iterator[Folder]:
    """Create an empty folder that only this user can enter, and remove it with all its files at the end.

    Raises:
        StoreError: Another user has replaced the folder.
        OSError: It cannot be created.
    """
    name, scratch, lock = _make(parent)
    with scratch:
        try:
            yield scratch
        except OSError as error:
            _rename(error, scratch)
            raise
        finally:
            with suppress(OSError):
                _remove(parent, name, scratch)
            os.close(lock)


def _make(parent: Folder) -> tuple[str, Folder, int]:
    """Create a folder; return its name, the open folder, and the descriptor of its locked mark file."""
    for _ in range(TRIES):
        name = temporary_name("scratch")
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(parent.path)) from None
        try:
            scratch, lock = _mark(parent, name)
        except FileNotFoundError:  # another process removed it as a leftover
            continue
        except OSError as error:
            with suppress(OSError):
                os.rmdir(name, dir_fd=parent.fd)
            raise OSError(error.errno, error.strerror, str(parent.path)) from None
        if claim(lock, MARK, scratch.fd):
            return name, scratch, lock
        os.close(lock)
    raise StoreError("cannot create a temporary folder here", where=str(parent.path), hint="try again")


def _remove(parent: Folder, name: str, scratch: Folder) -> None:
    # The mark goes last, because nobody would ever remove a folder without it.
    for entry in sorted(scratch.names(), key=lambda one: one == MARK):
        with suppress(OSError):
            scratch.remove(entry)
    os.rmdir(name, dir_fd=parent.fd)


def _mark(parent: Folder, name: str) -> tuple[Folder, int]:
    scratch = parent.enter(name)
    status = scratch.status()
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS or scratch.names():
        raise StoreError("the temporary folder was replaced by another user", where=str(scratch.path))
    return scratch, scratch.open_mark(MARK)


def path_of(folder: Folder) -> Path:
    """Return a path that leads to an open folder even if its name is taken by another one (proc(5))."""
    return Path(f"/proc/self/fd/{folder.fd}")


def is_scratch(folder: Folder) -> bool:
    """Tell whether :func:`open_scratch` created a folder for this user."""
    status = folder.status()
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS and MARK in folder.names()


def _rename(error: OSError, scratch: Folder) -> None:
    """Let an error tell the folder that the user knows: what is in it has names that are made up."""
    if scratch.path.name in path_in(error):
        error.filename = str(scratch.path.parent)
