"""Whose files in a store are trusted, and how use renews a file's time stamp."""

from __future__ import annotations

import os
import stat
import time
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from sifmake import temporaries

if TYPE_CHECKING:
    from collections.abc import Callable

_RENEW_AFTER = 3600
"""Seconds after which use renews a time stamp; more often would load the file server."""

DAY: Final = temporaries.DAY
SKEW = 3600
"""Seconds by which a file server's clock may differ. Later time stamps are ignored, or files would stay for years."""
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_ENTER = stat.S_IXGRP | stat.S_IXOTH


class Trust(NamedTuple):
    """Whom the user of a store trusts, in addition to root and the user.

    Names are looked up only when a file of another user is found, because a directory service may be slow. Names that
    this machine does not know are ignored.

    Attributes:
        owners: Users, by id or name.
        groups: Groups, by id or name: files of such a group are trusted regardless of their owner.
        keeper: Whether the owner of the store's folder is trusted, as for a site's store.
    """

    owners: tuple[int | str, ...] = ()
    groups: tuple[int | str, ...] = ()
    keeper: bool = False

    @property
    def group_ids(self) -> tuple[int, ...]:
        """Ids of the groups that this machine knows, in order."""
        return tuple(number for number in map(_group_id, self.groups) if number >= 0)

    def has_owner(self, uid: int) -> bool:
        """Whether a user is trusted by id or name."""
        return uid in (0, os.geteuid()) or uid in map(_user_id, self.owners)

    def why_not_file(self, file: os.stat_result, folder: os.stat_result, root: os.stat_result) -> str:
        """Return why an open file of a store must not be used; empty if it may.

        Checksums show accidents only, so in a store to which others can write, only files of trusted owners are used,
        and only if no one else can write to them; a pack that is refused here may still prove itself. If an access
        control list lets others write, the group's permission bit shows it.

        Args:
            file: Status of the file.
            folder: Status of its folder.
            root: Status of the store's folder.
        """
        if not stat.S_ISREG(file.st_mode):
            return "it is not a regular file"
        by_group = bool(self.groups) and file.st_gid in self.group_ids
        if not self._believes(file.st_uid, root) and not (by_group and not folder.st_mode & stat.S_IWOTH):
            return f"it belongs to user {file.st_uid}, who is not trusted"
        if not root.st_mode & _OTHERS_ENTER:
            return ""
        if file.st_mode & stat.S_IWOTH:
            return "everyone can write to it"
        return "its group can write to it" if file.st_mode & stat.S_IWGRP and not by_group else ""

    def why_not_folder(self, folder: os.stat_result, root: os.stat_result) -> str:
        """Return why a folder of a store must not be entered; empty if it may.

        In a store to which a group writes, each folder belongs to the member who created it, so the files in it are
        judged one by one.
        """
        if self._believes(folder.st_uid, root) or folder.st_uid == root.st_uid:
            return ""
        if root.st_mode & stat.S_IWGRP and folder.st_gid == root.st_gid:
            return ""
        return f"it belongs to user {folder.st_uid}, who is not trusted"

    def _believes(self, uid: int, root: os.stat_result) -> bool:
        return self.has_owner(uid) or (self.keeper and uid == root.st_uid)


@cache
def _user_id(word: int | str) -> int:
    """Return the id of a user; -1 if there is no user with that name."""
    import pwd

    return _id_of(word, lambda name: pwd.getpwnam(name).pw_uid)


@cache
def _group_id(word: int | str) -> int:
    """Return the id of a group; -1 if there is no group with that name."""
    import grp

    return _id_of(word, lambda name: grp.getgrnam(name).gr_gid)


def _id_of(word: int | str, find: Callable[[str], int]) -> int:
    if isinstance(word, int) or word.isdecimal():
        return int(word)
    try:
        return find(word)
    except KeyError:
        return -1


def renew(fd: int, status: os.stat_result) -> None:
    """Set an open file's time stamps to now if they differ by an hour; do nothing if that is not permitted."""
    if abs(time.time() - status.st_mtime) > _RENEW_AFTER:
        try:
            os.utime(fd)
        except OSError:
            return
