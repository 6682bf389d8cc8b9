"""Numbers of the system calls that a filter looks at, for each kind of machine (Linux, asm/unistd.h)."""

from __future__ import annotations

import os
from typing import NamedTuple

OWNERS = ("chown", "fchown", "lchown", "fchownat")
"""Change the owner of a file."""
IDENTITIES = (
    "setuid", "setgid", "setreuid", "setregid", "setgroups", "setresuid", "setresgid", "setfsuid", "setfsgid", "capset",
)  # fmt: skip
"""Change who a process is."""
NODES = {"mknod": 1, "mknodat": 2}
"""Make device nodes, and the number of the argument that has the mode."""
KEYRINGS = ("add_key", "request_key", "keyctl")
"""Reach keys of the user's other processes, from every namespace."""
_ORDER = (*OWNERS, *IDENTITIES, *NODES, *KEYRINGS, "seccomp")
_X86_64 = (92, 93, 94, 260, 105, 106, 113, 114, 116, 117, 119, 122, 123, 126, 133, 259, 248, 249, 250, 317)
_I386 = (212, 207, 198, 298, 213, 214, 203, 204, 206, 208, 210, 215, 216, 185, 14, 297, 286, 287, 288, 354)
_ARM = (212, 207, 198, 325, 213, 214, 203, 204, 206, 208, 210, 215, 216, 185, 14, 324, 309, 310, 311, 383)
_GENERIC = (-1, 55, -1, 54, 146, 144, 145, 143, 159, 147, 149, 151, 152, 91, -1, 33, 217, 218, 219, 277)
_OLD_OWNERS, _OLD_IDENTITIES = (182, 95, 16), (23, 46, 70, 71, 81, 164, 170, 138, 139)
"""Calls with ids of 16 bits of i386 and arm: chown, fchown, lchown; setuid and on in the order above."""


class Table(NamedTuple):
    """The calls of programs of one kind.

    Attributes:
        word: What the kernel calls the kind (``AUDIT_ARCH_*``, linux/audit.h).
        calls: Numbers by name.
        old_owners: Further numbers that change the owner of a file.
        old_identities: Further numbers that change who a process is.
    """

    word: int
    calls: dict[str, int]
    old_owners: tuple[int, ...] = ()
    old_identities: tuple[int, ...] = ()


def _table(word: int, numbers: tuple[int, ...], *, old: bool = False) -> Table:
    calls = {name: number for name, number in zip(_ORDER, numbers, strict=True) if number >= 0}
    return Table(word, calls, _OLD_OWNERS if old else (), _OLD_IDENTITIES if old else ())


_TABLES = {
    "x86_64": (_table(0xC000003E, _X86_64), _table(0x40000003, _I386, old=True)),
    "aarch64": (_table(0xC00000B7, _GENERIC), _table(0x40000028, _ARM, old=True)),
    "riscv64": (_table(0xC00000F3, _GENERIC),),
}
"""For each machine its own programs first, then those of its 32-bit kind."""


def tables() -> tuple[Table, ...]:
    """Return the kinds of programs that this machine runs, its own first; none if they are not known."""
    return _TABLES.get(os.uname().machine, ())
