"""System call filters: what a script may not do at all, and what is answered without being done.

A filter is a program of classic BPF (linux/seccomp.h, linux/bpf_common.h) that sees the number of a call, the kind of
program that makes it, and the arguments, but not the memory that these point to.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct

from sifmake.rootless import kernel
from sifmake.rootless.calls import (
    HIDING,
    IDENTITIES,
    KEYRINGS,
    MAKING,
    NAMES,
    NODES,
    OPENING,
    OWNERS,
    QUESTIONS,
    RINGS,
    SPACES,
    STATES,
    tables,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sifmake.rootless.calls import CallTable

_ALLOW, _KILL, _NOTIFY, _ERRNO = 0x7FFF0000, 0x80000000, 0x7FC00000, 0x00050000
_DONE, _REFUSE = _ERRNO, _ERRNO | errno.EPERM
"""Answers: "success" without doing anything, and "not permitted"."""
_LOAD, _JUMP, _EQUAL, _GREATER_OR_EQUAL, _AND, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x54, 0x06
_NUMBER, _KIND, _ARGUMENTS = 0, 4, 16
"""Offsets in ``struct seccomp_data``."""
_X86_64, _X32 = 0xC000003E, 0x40000000
"""The architecture number of x86-64 programs, and the bit in call numbers of programs with 32-bit pointers."""
_SET_MODE_FILTER, _NEW_LISTENER, _WAIT_KILLABLE = 1, 1 << 3, 1 << 5
_Instruction = tuple[int, int, int, int]


def install_filter(mode: str, *, listen: bool = False, spaces: bool = True) -> int:
    """Restrict this process and its descendants, permanently, to the calls that the mode allows.

    Args:
        mode: Value of :class:`~sifmake.rootless.request.Mode`.
        listen: Whether to return a file descriptor for calls that need an answer.
        spaces: Whether user namespaces can be created. In one of its own, the host's root could mount the control
            groups, whose files belong to it.

    Returns:
        That file descriptor, else 0.

    Raises:
        OSError: The kernel refuses, or has no such filters.
    """
    known = tables()
    if not known:
        return 0
    code = _encode(_program(known, single=mode == "single", notify=listen, spaces=spaces))
    buffer = ctypes.create_string_buffer(code)
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    number = known[0].calls["seccomp"]
    if listen:
        try:
            return _seccomp(number, _NEW_LISTENER | _WAIT_KILLABLE, program)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return _seccomp(number, _NEW_LISTENER, program)
    return _seccomp(number, 0, program)


def _seccomp(number: int, flags: int, program: ctypes.Array[ctypes.c_char]) -> int:
    pointer = ctypes.c_void_p(ctypes.addressof(program))
    return kernel.syscall(number, _SET_MODE_FILTER, flags, pointer, where="seccomp")


def _program(known: Iterable[CallTable], *, single: bool, notify: bool, spaces: bool) -> list[_Instruction]:
    """Return a filter: one part for each kind of program; programs of other kinds are killed."""
    program: list[_Instruction] = []
    for table in known:
        part = _part(table, single=single, notify=notify, spaces=spaces)
        program += [(_LOAD, 0, 0, _KIND), (_EQUAL, 1, 0, table.word), (_JUMP, 0, 0, len(part)), *part]
    return [*program, (_RETURN, 0, 0, _KILL)]


def _part(table: CallTable, *, single: bool, notify: bool, spaces: bool) -> list[_Instruction]:
    part: list[_Instruction] = [(_LOAD, 0, 0, _NUMBER)]
    if table.word == _X86_64:
        part += [(_GREATER_OR_EQUAL, 0, 1, _X32), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    part += _answer(_numbers(table, KEYRINGS), _REFUSE)
    if not spaces:
        part += _answer(_numbers(table, HIDING), _ERRNO | errno.ENOSYS)  # then programs use clone
        for name, argument in SPACES.items():
            part += _answer_flag(table.calls[name], argument, kernel.CLONE_NEWUSER, _REFUSE)
    if single:
        answer = _NOTIFY if notify else _DONE
        part += _answer(_numbers(table, RINGS), _ERRNO | errno.ENOSYS)
        part += _answer([*_numbers(table, OWNERS), *table.old_owners.values()], answer)
        if notify and table.stat_size:
            part += _answer(_numbers(table, (*STATES, *NAMES, *IDENTITIES, *QUESTIONS, *MAKING)), _NOTIFY)
            for name, argument in OPENING.items():
                if name in table.calls:
                    part += _answer_flag(table.calls[name], argument, os.O_CREAT, _NOTIFY)
        part += _answer([*_numbers(table, IDENTITIES), *table.old_identities], _DONE)
        for name, argument in NODES.items():
            if name in table.calls:
                part += _answer_nodes(table.calls[name], argument, answer)
    return [*part, (_RETURN, 0, 0, _ALLOW)]


def _numbers(table: CallTable, names: Iterable[str]) -> list[int]:
    return [table.calls[name] for name in names if name in table.calls]


def _answer(numbers: Iterable[int], answer: int) -> list[_Instruction]:
    """Give an answer to calls; the call's number is loaded already."""
    return [one for number in numbers for one in ((_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer))]


def _answer_nodes(number: int, argument: int, answer: int) -> list[_Instruction]:
    """Give an answer to calls that create device nodes; pipes and sockets are really created."""
    return [
        (_EQUAL, 0, 6, number),
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        (_AND, 0, 0, 0o170000),
        (_EQUAL, 1, 0, stat.S_IFCHR),
        (_EQUAL, 0, 1, stat.S_IFBLK),
        (_RETURN, 0, 0, answer),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _answer_flag(number: int, argument: int, flag: int, answer: int) -> list[_Instruction]:
    """Give an answer to calls with a flag in an argument, and allow the others."""
    return [
        (_EQUAL, 0, 5, number),
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        (_AND, 0, 0, flag),
        (_EQUAL, 0, 1, flag),
        (_RETURN, 0, 0, answer),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _encode(program: Iterable[_Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *one) for one in program)
