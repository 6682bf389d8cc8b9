"""Numbers of the system calls that a filter checks, for each architecture (Linux, asm/unistd.h)."""

from __future__ import annotations

import os
from typing import NamedTuple

OWNERS = ("chown", "fchown", "lchown", "fchownat")
"""Calls that change the owner of a file."""
STATES = ("stat", "fstat", "lstat", "newfstatat", "statx")
"""Calls that return the owner of a file."""
NAMES = ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat")
"""Calls that give a file another name."""
IDENTITIES = (
    "setuid", "setgid", "setreuid", "setregid", "setgroups", "setresuid", "setresgid", "setfsuid", "setfsgid", "capset",
)  # fmt: skip
"""Calls that change the identity of a process."""
NODES = {"mknod": 1, "mknodat": 2}
"""Calls that create device nodes, and the number of the argument with the mode."""
QUESTIONS = ("getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups")
"""Calls that return the identity of a process."""
OPENING = {"open": 1, "openat": 2}
"""Calls that may create a file, and the number of the argument with the flag for it."""
MAKING = ("creat", "mkdir", "mkdirat")
"""Calls that create a file or a folder."""
KEYRINGS = ("add_key", "request_key", "keyctl")
"""Calls that reach keys of the user's other processes, from every namespace."""
RINGS = ("io_uring_setup",)
"""Calls that lead to operations that no filter sees."""
SPACES = {"unshare": 0, "clone": 0}
"""Calls that create namespaces, and the number of the argument with the flags."""
HIDING = ("clone3",)
"""Calls that create namespaces and have their flags in memory, which no filter sees."""
_ORDER = (
    *OWNERS, *IDENTITIES, *NODES, *KEYRINGS, "seccomp", *RINGS, *SPACES, *HIDING,
    *STATES, *NAMES, *QUESTIONS, *OPENING, *MAKING,
)  # fmt: skip
_X86_64 = (
    92, 93, 94, 260, 105, 106, 113, 114, 116, 117, 119, 122, 123, 126, 133, 259, 248, 249, 250, 317, 425, 272, 56, 435,
    4, 5, 6, 262, 332, 82, 264, 316, 86, 265, 88, 266,
    102, 107, 104, 108, 118, 120, 115, 2, 257, 85, 83, 258,
)  # fmt: skip
_GENERIC = (
    -1, 55, -1, 54, 146, 144, 145, 143, 159, 147, 149, 151, 152, 91, -1, 33, 217, 218, 219, 277, 425, 97, 220, 435,
    -1, 80, -1, 79, 291, -1, 38, 276, -1, 37, -1, 36,
    174, 175, 176, 177, 148, 150, 158, -1, 56, -1, -1, 34,
)  # fmt: skip
_I386 = (
    212, 207, 198, 298, 213, 214, 203, 204, 206, 208, 210, 215, 216, 185, 14, 297, 286, 287, 288, 354, 425,
    310, 120, 435,
)  # fmt: skip
_ARM = (
    212, 207, 198, 325, 213, 214, 203, 204, 206, 208, 210, 215, 216, 185, 14, 324, 309, 310, 311, 383, 425,
    337, 120, 435,
)  # fmt: skip
_OLD_OWNERS = {"chown": 182, "fchown": 95, "lchown": 16}
_OLD_IDENTITIES = (23, 46, 70, 71, 81, 164, 170, 138, 139)
"""Calls of i386 and arm with ids of 16 bits; identities in the order above."""


class CallTable(NamedTuple):
    """The system calls of one kind of program.

    Attributes:
        word: The kernel's number for the kind (``AUDIT_ARCH_*``, linux/audit.h).
        calls: Numbers by name.
        old_owners: Further numbers that change the owner of a file, with ids of 16 bits.
        old_identities: Likewise, numbers that change the identity of a process.
        stat_size: Bytes of ``struct stat`` (asm/stat.h); 0 if calls that return owners are not intercepted.
        stat_owner: Offset of the user in it; the group follows.
    """

    word: int
    calls: dict[str, int]
    old_owners: dict[str, int]
    old_identities: tuple[int, ...]
    stat_size: int = 0
    stat_owner: int = 0

    def names(self) -> dict[int, str]:
        """Return the calls' names by number."""
        return {number: name for name, number in (*self.calls.items(), *self.old_owners.items())}


def _table(word: int, numbers: tuple[int, ...], size: int, owner: int) -> CallTable:
    calls = {name: number for name, number in zip(_ORDER, numbers, strict=True) if number >= 0}
    return CallTable(word, calls, {}, (), size, owner)


def _short_table(word: int, numbers: tuple[int, ...]) -> CallTable:
    return CallTable(word, dict(zip(_ORDER, numbers, strict=False)), _OLD_OWNERS, _OLD_IDENTITIES)


_TABLES = {
    "x86_64": (_table(0xC000003E, _X86_64, 144, 28), _short_table(0x40000003, _I386)),
    "aarch64": (_table(0xC00000B7, _GENERIC, 128, 24), _short_table(0x40000028, _ARM)),
    "riscv64": (_table(0xC00000F3, _GENERIC, 128, 24),),
}
"""For each architecture, native programs first, then its 32-bit programs."""


def tables() -> tuple[CallTable, ...]:
    """Return the kinds of programs that this machine runs, its own first; none if the architecture is unknown."""
    return _TABLES.get(os.uname().machine, ())
