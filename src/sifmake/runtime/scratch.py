"""Temporary folders that are removed even if their owner was killed, because the next run sweeps them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat

from sifmake.runtime.rootfs import PREFIX
from sifmake.temporaries import TRIES, claim, is_unlocked

MOUNTED = "mounted"
"""Name of the mount point in a temporary folder."""


def _temporary_parent() -> str:
    """Return the folder for temporary folders."""
    names = ("SIFMAKE_TMPDIR", "APPTAINER_TMPDIR", "SINGULARITY_TMPDIR", "TMPDIR")
    return next((os.environ[name] for name in names if os.environ.get(name)), "/tmp")  # noqa: S108


class Scratch:
    """A new temporary folder, marked as in use by a lock on it.

    Attributes:
        path: The folder.
        fd: File descriptor of it, which holds the lock.
        owner: Process that has to remove it.
    """

    def __init__(self) -> None:
        parent = _temporary_parent()
        _sweep(parent)
        self.path, self.fd = _make(parent)
        self.owner = os.getpid()

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        try:
            _clear(self.path)
        except OSError:  # no more files may be opened: that of the lock makes room
            os.close(self.fd)
            with contextlib.suppress(OSError):
                _clear(self.path)
        else:
            os.close(self.fd)


def _make(parent: str) -> tuple[str, int]:
    """Create a folder; return its path and its locked descriptor. Others may sweep it before it is locked."""
    for _ in range(TRIES):
        path = f"{parent}/{PREFIX}{secrets.token_hex(8)}"
        os.mkdir(path, 0o700)
        with contextlib.suppress(FileNotFoundError):
            fd = _open_new(path)
            if claim(fd, path):
                return path, fd
            os.close(fd)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), parent)


def _open_new(path: str) -> int:
    """Open a folder that was just made; where that fails, it goes again."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(path)
        raise


def _sweep(parent: str) -> None:
    """Remove folders of this user that nobody has locked, because their owners were killed."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(parent)):
            if entry.name.startswith(PREFIX) and entry.stat(follow_symlinks=False).st_uid == os.geteuid():
                _sweep_one(entry.path)


def _sweep_one(path: str) -> None:
    """Remove one folder if nobody has locked it."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if is_unlocked(fd):
                _clear(path)
        finally:
            os.close(fd)


def _clear(path: str) -> None:
    """Remove one folder, and mounts that a killed run has left in it."""
    if MOUNTED in os.listdir(path):
        from sifmake.runtime.setuid_fallback import detach

        detach(f"{path}/{MOUNTED}")
    _remove_tree(path)


def _remove_tree(path: str) -> None:
    """Remove a folder and everything in it, whatever the modes are; links are not followed."""
    with contextlib.suppress(OSError):
        os.chmod(path, stat.S_IRWXU, follow_symlinks=True)
        for entry in list(os.scandir(path)):
            if entry.is_dir(follow_symlinks=False):
                _remove_tree(entry.path)
            else:
                os.unlink(entry.path)
    with contextlib.suppress(OSError):
        os.rmdir(path)
