"""Who processes believe to be, in a namespace where all are root: what set*id(2) sets and get*id(2) returns.

Children inherit the identity of their parent. It is looked up on the first request, so it is lost if the parent has
ended by then; only the process's own belief depends on it.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

_UNCHANGED = 0xFFFFFFFF


class Ids(NamedTuple):
    """Users or groups of a process.

    Attributes:
        real: The id of who started it.
        effective: The id whose rights it has.
        saved: The id that it may switch back to.
        files: The owner of files that it creates.
    """

    real: int = 0
    effective: int = 0
    saved: int = 0
    files: int = 0


class Identity(NamedTuple):
    """Who a process believes to be.

    Attributes:
        users: User ids.
        groups: Group ids.
        further: Supplementary groups.
    """

    users: Ids = Ids()
    groups: Ids = Ids()
    further: tuple[int, ...] = ()


_ROOT = Identity()


def change(identity: Identity, name: str, arguments: list[int]) -> Identity:
    """Return the identity of a process after a call. Raises OSError if the kernel would refuse the call.

    Args:
        identity: The identity before the call.
        name: Name of the call: setuid, setgid, setreuid, ...
        arguments: Arguments of the call.
    """
    wanted = [one & _UNCHANGED for one in arguments]
    privileged = identity.users.effective == 0
    if name.endswith("uid"):
        return identity._replace(users=_CHANGES[name.replace("uid", "id")](identity.users, wanted, privileged))
    return identity._replace(groups=_CHANGES[name.replace("gid", "id")](identity.groups, wanted, privileged))


def _set(ids: Ids, wanted: list[int], privileged: bool) -> Ids:  # noqa: FBT001 - all have the same form
    one = wanted[0]
    if privileged:
        return Ids(one, one, one, one)
    _demand(one in (ids.real, ids.saved))
    return ids._replace(effective=one, files=one)


def _set_two(ids: Ids, wanted: list[int], privileged: bool) -> Ids:  # noqa: FBT001 - likewise
    real, effective = wanted[:2]
    _demand(privileged or real in (_UNCHANGED, ids.real, ids.effective))
    _demand(privileged or effective in (_UNCHANGED, *ids[:3]))
    new_real = ids.real if real == _UNCHANGED else real
    new_effective = ids.effective if effective == _UNCHANGED else effective
    takes_over = real != _UNCHANGED or effective not in (_UNCHANGED, ids.real)
    return Ids(new_real, new_effective, new_effective if takes_over else ids.saved, new_effective)


def _set_three(ids: Ids, wanted: list[int], privileged: bool) -> Ids:  # noqa: FBT001 - likewise
    real, effective, saved = (old if one == _UNCHANGED else one for old, one in zip(ids, wanted[:3], strict=False))
    _demand(privileged or {real, effective, saved} <= set(ids[:3]))
    return Ids(real, effective, saved, effective)


def _set_files(ids: Ids, wanted: list[int], privileged: bool) -> Ids:  # noqa: FBT001 - likewise
    return ids._replace(files=wanted[0]) if privileged or wanted[0] in ids else ids


_CHANGES = {"setid": _set, "setreid": _set_two, "setresid": _set_three, "setfsid": _set_files}


def _demand(allowed: bool) -> None:  # noqa: FBT001 - a condition
    if not allowed:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


class Identities:
    """The identities of the processes of one script.

    Args:
        proc: /proc, open.
    """

    def __init__(self, proc: int) -> None:
        self._proc = proc
        self._known: dict[int, tuple[bytes, Identity]] = {}

    def of(self, pid: int) -> Identity:
        """Return who a process believes to be."""
        if not self._known or pid in (0, 1, os.getpid()):
            return _ROOT
        known = self._known.get(pid)
        if known and known[0] == self._birth(pid):
            return known[1]
        leader, parent = self._relatives(pid)
        identity = self.of(leader if leader != pid else parent)
        if identity != _ROOT:
            self.note(pid, identity)
        return identity

    def note(self, pid: int, identity: Identity) -> None:
        """Note who a process believes to be."""
        if self._known or identity != _ROOT:
            self._known[pid] = (self._birth(pid), identity)

    def _birth(self, pid: int) -> bytes:
        """Return the start time of a process, which tells it from a later one with its number (proc(5), stat)."""
        return self._read(f"{pid}/stat").rpartition(b")")[2].split()[19]

    def _relatives(self, pid: int) -> tuple[int, int]:
        """Return the process that a thread belongs to, and its parent."""
        fields = dict(line.split(b"\t", 1) for line in self._read(f"{pid}/status").splitlines() if b"\t" in line)
        return int(fields[b"Tgid:"]), int(fields[b"PPid:"])

    def _read(self, name: str) -> bytes:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            return os.read(fd, 4096)
        finally:
            os.close(fd)
