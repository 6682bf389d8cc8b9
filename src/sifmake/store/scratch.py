"""A folder of one process in a store, for code that writes by path: nobody can lead that path elsewhere."""

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
    """Make an empty folder that only this user enters, and remove it with all its files in the end.

    Raises:
        StoreError: Somebody has put another folder in its place.
        OSError: It cannot be made.
    """
    name, scratch, lock = _make(parent)
    with scratch:
        try:
            yield scratch
        except OSError as error:
            _rename(error, scratch)
            raise
        finally:
            for entry in sorted(scratch.names(), key=lambda one: one == MARK):  # what may be left needs the mark
                with suppress(OSError):
                    scratch.remove(entry)
            with suppress(OSError):
                os.rmdir(name, dir_fd=parent.fd)
            os.close(lock)


def _make(parent: Folder) -> tuple[str, Folder, int]:
    """Make a folder; return its name, it, and the mark in it, open and locked."""
    for _ in range(TRIES):
        name = temporary_name("scratch")
        try:
            os.mkdir(name, 0o700, dir_fd=parent.fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(parent.path)) from None
        try:
            scratch, lock = _mark(parent, name)
        except FileNotFoundError:  # another process took it for left over
            continue
        except OSError:
            os.rmdir(name, dir_fd=parent.fd)
            raise
        if claim(lock, MARK, scratch.fd):
            return name, scratch, lock
        os.close(lock)
    raise StoreError("no temporary folder can be made there", where=str(parent.path), hint="try again")


def _mark(parent: Folder, name: str) -> tuple[Folder, int]:
    scratch = parent.enter(name)
    status = scratch.status()
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS or scratch.names():
        raise StoreError("another folder was put in its place", where=str(scratch.path))
    return scratch, scratch.open_mark(MARK)


def path_of(folder: Folder) -> Path:
    """Return a path that leads into a folder as long as it is open, whatever takes its name meanwhile (proc(5))."""
    return Path(f"/proc/self/fd/{folder.fd}")


def is_scratch(folder: Folder) -> bool:
    """Tell whether :func:`open_scratch` of this user has made a folder."""
    status = folder.status()
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS and MARK in folder.names()


def _rename(error: OSError, scratch: Folder) -> None:
    """Let an error tell the folder that the user knows: what is in it has names that are made up."""
    if scratch.path.name in path_in(error):
        error.filename = str(scratch.path.parent)
