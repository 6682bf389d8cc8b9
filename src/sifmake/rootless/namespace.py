"""Enter the namespaces of a run, and become root in them."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from sifmake.rootless import kernel
from sifmake.rootless.errors import RootlessError
from sifmake.runtime.system import MS_REC, mount, unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_HOST_NAME = "localhost"
"""The host name: the same in every build, and present in every /etc/hosts."""
_ALWAYS = kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
DOCKER_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})
"""CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD,
AUDIT_WRITE, SETFCAP: the capabilities that Docker gives to root.
"""


def become_root(users: Sequence[Sequence[str]], groups: Sequence[Sequence[str]]) -> None:
    """Enter a user namespace as its root; without ranges, this process is root already.

    Raises:
        RootlessError: The namespace or its ids are not available.
    """
    if users:
        if len(users) == 1:
            _enter_single(users[0], groups[0])
        else:
            _enter_granted(users, groups)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    if len(users) != 1:
        os.setgroups([])


def enter_namespaces(*, network: bool) -> None:
    """Leave the host's mounts, host name and queues, and also its network unless the script may use it.

    The new process namespace starts with the next child.
    """
    unshare(_ALWAYS | kernel.CLONE_NEWPID | (0 if network else kernel.CLONE_NEWNET))
    mount("", "/", "", MS_REC | kernel.MS_PRIVATE)
    socket.sethostname(_HOST_NAME)
    if not network:
        _start_loopback()


def _enter_single(user: Sequence[str], group: Sequence[str]) -> None:
    _unshare_user()
    for name, text in (("setgroups", "deny"), ("uid_map", " ".join(user)), ("gid_map", " ".join(group))):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _enter_granted(users: Sequence[Sequence[str]], groups: Sequence[Sequence[str]]) -> None:
    """Let newuidmap and newgidmap, which must run outside, map the ids of this process."""
    entered, entered_end = os.pipe()
    parent = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.close(entered_end)
        os._exit(0 if os.read(entered, 1) and _map_ids(parent, users, groups) else 1)
    try:
        _unshare_user()
        os.write(entered_end, b"x")
    finally:
        os.close(entered_end)
        os.close(entered)
        status = os.waitpid(helper, 0)[1]
    if status:
        raise RootlessError(
            "newuidmap or newgidmap refused the ids of /etc/subuid and /etc/subgid",
            hint="check that both are installed setuid root (package uidmap or shadow-utils)",
        )


def _map_ids(pid: int, users: Sequence[Sequence[str]], groups: Sequence[Sequence[str]]) -> bool:
    """Run both programs; return whether they succeeded."""
    try:
        return _run_mapper("newuidmap", pid, users) and _run_mapper("newgidmap", pid, groups)
    except OSError:
        return False


def _run_mapper(program: str, pid: int, ranges: Sequence[Sequence[str]]) -> bool:
    words = [program, str(pid), *(word for one in ranges for word in one)]
    return os.spawnvp(os.P_WAIT, program, words) == 0


def _unshare_user() -> None:
    try:
        unshare(kernel.CLONE_NEWUSER)
    except OSError as error:
        raise RootlessError(f"user namespaces are not allowed here: {error.strerror}") from None


def _start_loopback() -> None:
    """Bring up the loopback device of a new network namespace, because programs expect it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        asked = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(device, _SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(device, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
