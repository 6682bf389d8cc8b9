"""The helper that sets owners, modes and attributes of unpacked files, inside the mode's namespace.

Standard input carries marshalled records, as :mod:`~sifmake.rootless.unpacking` writes them. The first one names the
mode, its ids and the tree's file descriptor, or ``remove``, the ids and the path of a folder to empty.
"""

from __future__ import annotations

import json
import marshal
import os
import stat
import sys

from sifmake.errors import SifmakeError
from sifmake.rootless.namespace import become_root
from sifmake.rootless.owners import NOTE, owner_note
from sifmake.rootless.removal import empty_folder
from sifmake.rootless.tree_facts import write_facts

_DIR, _FILE, _SYMLINK, _BLOCK, _CHAR, _FIFO, _SOCKET, _HARDLINK, _WHITEOUT, _OPAQUE = range(1, 11)
"""Same as in ``layers.entry``, which needs packages that this interpreter does not have."""
_REFUSED = (b"user.overlay.", b"trusted.overlay.", b"user.sifmake.")
"""Attributes that the kernel or sifmake would treat as their own."""
_Record = tuple[int, bytes, int, int, int, int, bytes, int, int, tuple[tuple[bytes, bytes], ...]]


def give_attributes() -> None:
    """Apply the records from standard input."""
    records = os.fdopen(0, "rb")
    mode, users, groups, where = marshal.load(records)  # noqa: S302 - our own process wrote it
    try:
        become_root(users, groups)
        if mode == "remove":
            empty_folder(where)
            return
        os.umask(0)
        os.fchdir(where)  # a path could lead to the tree of the next build, if this one was killed
        attributes = _Attributes(mode)
        while record := marshal.load(records):  # noqa: S302 - likewise
            attributes.apply(record)
        attributes.finish()
    except SifmakeError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{os.fsdecode(error.filename or b'')}: {error.strerror}")


class _Attributes:
    """Applies records to the files below the current folder."""

    def __init__(self, mode: str) -> None:
        self._single = mode == "single"
        self._overlay = "trusted" if mode == "root" else "user"
        self._folders: list[_Record] = []
        self._owners: dict[str, tuple[int, int]] = {}
        self._names: set[bytes] = set()
        self._links: list[tuple[bytes, bytes]] = []
        self._opaque: list[bytes] = []
        self._device = 0

    def apply(self, record: _Record) -> None:
        """Apply a record; modes of folders come last, because some forbid creating files."""
        kind, path, _, _, _, _, target, major, minor, _ = record
        if kind == _DIR:
            self._folders.append(record)
            return
        if kind == _OPAQUE:
            self._opaque.append(path)
            return
        if kind == _HARDLINK:
            os.link(target, path, follow_symlinks=False)
            if self._has_note(target):
                self._names.add(path.rpartition(b"/")[2])
            return
        if kind == _WHITEOUT:
            os.mknod(path, stat.S_IFCHR, 0)
            return
        if kind in (_BLOCK, _CHAR) and not self._make_device(path, kind, os.makedev(major, minor)):
            return
        if kind == _SYMLINK:
            self._links.append((path.rpartition(b"/")[2], target.rstrip(b"/").rpartition(b"/")[2]))
        self._give(record)

    def finish(self) -> None:
        """Apply what is left, and write the notes beside the tree."""
        for record in reversed(self._folders):
            self._give(record)
        for path in self._opaque:
            os.setxattr(path or b".", f"{self._overlay}.overlay.opaque", b"y")
        for name, target in self._links:
            if target in self._names:
                self._names.add(name)
        notes = {
            "root": any(not record[1] for record in self._folders),
            "owners": self._owners,
            "names": sorted(name.decode("latin-1") for name in self._names),
        }
        with open("../owners.json", "w") as file:
            json.dump(notes, file)
        write_facts()

    def _make_device(self, path: bytes, kind: int, device: int) -> bool:
        """Create a device node; return whether that succeeded, because ordinary users cannot."""
        try:
            os.mknod(path, stat.S_IFBLK if kind == _BLOCK else stat.S_IFCHR, device)
        except PermissionError:
            return False
        return True

    def _give(self, record: _Record) -> None:
        kind, path, mode, uid, gid, mtime, _, _, _, xattrs = record
        path = path or b"."
        noted = not self._chown(path, uid, gid)
        if kind != _SYMLINK:
            os.chmod(path, mode)
        for name, value in xattrs:
            if not name.startswith(_REFUSED):
                _set_xattr(path, name, value)
        if noted:
            self._note(path, kind, uid, gid)
        os.utime(path, ns=(mtime * 10**9, mtime * 10**9), follow_symlinks=False)

    def _chown(self, path: bytes, uid: int, gid: int) -> bool:
        """Change an owner; return whether the namespace has the ids."""
        if self._single:
            return not (uid or gid)
        try:
            os.lchown(path, uid, gid)
        except OSError:
            return False
        return True

    def _note(self, path: bytes, kind: int, uid: int, gid: int) -> None:
        """Note an owner, at the file itself if possible, so that the note moves with the file."""
        self._names.add(path.rpartition(b"/")[2])
        if kind in (_FILE, _DIR) and _set_xattr(path, os.fsencode(NOTE), owner_note(uid, gid)):
            return
        self._owners[path.decode("latin-1")] = (uid, gid)

    def _has_note(self, path: bytes) -> bool:
        return path.rpartition(b"/")[2] in self._names


def _set_xattr(path: bytes, name: bytes, value: bytes) -> bool:
    """Set an attribute; return whether that succeeded."""
    try:
        os.setxattr(path, name, value, follow_symlinks=False)
    except OSError:
        return False
    return True
