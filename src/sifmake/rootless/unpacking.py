"""Unpack a tree or a layer for scripts to run in, and remove it.

The caller writes the files as its own; a helper inside the mode's namespace sets owners, modes and attributes. What it
cannot set is noted, and treated as if it were set.
"""

from __future__ import annotations

import marshal
import os
import subprocess
from contextlib import suppress
from typing import IO, TYPE_CHECKING, cast

from sifmake.layers.entry import DIR, FIFO, FILE, HARDLINK, OPAQUE, SOCKET, SYMLINK
from sifmake.rootless.attributes import give_attributes
from sifmake.rootless.errors import RootlessError
from sifmake.rootless.ids import mapped_words
from sifmake.rootless.interpreter import start_program
from sifmake.rootless.removal import empty_folder
from sifmake.rootless.request import Mode
from sifmake.rootless.work_tree import TREE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sifmake.layers.entry import Entry

    _Record = tuple[int, bytes, int, int, int, int, bytes, int, int, tuple[tuple[bytes, bytes], ...]]
    """Kind, path, mode, uid, gid, mtime, target, major, minor, xattrs."""

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(
    walk: Iterable[tuple[bytes, Entry]], read: Callable[[Entry], Iterable[bytes]], place: Path, mode: Mode
) -> None:
    """Write a tree, or one layer in overlay's format, to a new folder.

    Args:
        walk: Paths and entries, folders before what is in them. An entry that occurs again is a hard link.
        read: Returns the content of a file that is not empty.
        place: The folder, which must not exist; it may be renamed afterwards.
        mode: How scripts in it will become root.

    Raises:
        RootlessError: The folder of an entry is missing, or the helper failed.
        OSError: Files cannot be written; what was written is removed.
    """
    place.mkdir(0o700)
    try:
        (place / TREE).mkdir(0o700)
        tree = os.open(place / TREE, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _unpack_to(_Unpacking(tree, read), tree, walk, place, mode)
        finally:
            os.close(tree)
    except BaseException:
        remove_tree(place, mode)
        raise


def _unpack_to(unpacking: _Unpacking, tree: int, walk: Iterable[tuple[bytes, Entry]], place: Path, mode: Mode) -> None:
    users, groups = mapped_words(mode.value)
    helper = start_program(give_attributes, subprocess.DEVNULL, subprocess.PIPE, [tree])
    try:
        with cast("IO[bytes]", helper.stdin) as records:
            marshal.dump((mode.value, users, groups, tree), records)
            for path, entry in walk:
                marshal.dump(unpacking.write(path, entry), records)
            marshal.dump(None, records)
    except BrokenPipeError:
        pass  # it says why
    finally:
        said = cast("IO[bytes]", helper.stderr).read(4096).decode("utf-8", "replace").strip()
        cast("IO[bytes]", helper.stderr).close()
        status = helper.wait()
    if status:
        raise RootlessError(said.rpartition("\n")[2] or "the helper that sets owners was killed", where=str(place))


class _Unpacking:
    """Writes entries below an open folder."""

    def __init__(self, tree: int, read: Callable[[Entry], Iterable[bytes]]) -> None:
        self._tree = tree
        self._read = read
        self._folders = {b""}
        self._first_names: dict[int, tuple[bytes, Entry]] = {}

    def write(self, path: bytes, entry: Entry) -> _Record:
        """Write an entry; return the record for the helper."""
        kind, target = entry.kind, entry.target
        self._check(path, entry)
        if kind == DIR:
            if path:
                os.mkdir(path, 0o700, dir_fd=self._tree)
            self._folders.add(path)
        elif kind not in (HARDLINK, OPAQUE):
            first, _ = self._first_names.setdefault(id(entry), (path, entry))
            if first != path:
                kind, target = HARDLINK, first
            else:
                self._make(path, entry)
        numbers = (entry.mode, entry.uid, entry.gid, entry.mtime)
        return (kind, path, *numbers, target, entry.major, entry.minor, entry.xattrs)

    def _check(self, path: bytes, entry: Entry) -> None:
        """Check that the folder of an entry was created here, so that links cannot lead elsewhere."""
        above = path if entry.kind == OPAQUE else path.rpartition(b"/")[0]
        if above not in self._folders or path.rpartition(b"/")[2] in (b".", b".."):
            raise RootlessError("an entry whose folder is missing", where=ascii(path)[2:-1])

    def _make(self, path: bytes, entry: Entry) -> None:
        """Create what an ordinary user can create; the helper creates the rest."""
        if entry.kind == FILE:
            fd = os.open(path, _NEW, 0o600, dir_fd=self._tree)
            with os.fdopen(fd, "wb", buffering=0) as file:
                for part in self._read(entry) if entry.size else ():
                    _write_all(file, part)
        elif entry.kind == SYMLINK:
            os.symlink(entry.target, path, dir_fd=self._tree)
        elif entry.kind in (FIFO, SOCKET):
            os.mkfifo(path, 0o600, dir_fd=self._tree)


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def remove_tree(place: Path, mode: Mode) -> None:
    """Remove a folder and its content, whoever owns it in the mode's namespace.

    Raises:
        OSError: It cannot be removed.
        RootlessError: The namespace cannot be entered.
    """
    with suppress(OSError):
        empty_folder(str(place))
    try:
        place.rmdir()
    except OSError:
        if mode != Mode.SUBUID:
            raise
        _remove_inside(place)
        place.rmdir()


def _remove_inside(place: Path) -> None:
    users, groups = mapped_words(Mode.SUBUID.value)
    helper = start_program(give_attributes, subprocess.DEVNULL, subprocess.DEVNULL)
    with suppress(BrokenPipeError), cast("IO[bytes]", helper.stdin) as records:
        marshal.dump(("remove", users, groups, str(place.absolute())), records)
    helper.wait()
