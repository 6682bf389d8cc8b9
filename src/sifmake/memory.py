"""Work in little memory: how many threads fit, and calls of libraries that do not check their allocations.

Where a batch system or ``ulimit -v`` limits a process, each thread immediately takes a part of it: its stack, and up to
128 MiB of addresses that the C library reserves for its allocations.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
from pathlib import Path

from sifmake.errors import NO_MEMORY

_ALONE = 256 << 20
"""Bytes of address space that sifmake takes with one thread."""
_FOR_A_THREAD = 144 << 20
_ROOM = 2 << 20
"""Most bytes that compressing a block takes (libdeflate: 0.7 MiB of state, and the output)."""
_WITHOUT_THREADS = "SIFMAKE_WITHOUT_THREADS"


def is_limited() -> bool:
    """Tell whether an allocation may fail before the machine runs out of memory."""
    return _limit() is not None or _is_strict()


def most_threads() -> int | None:
    """Return how many threads fit into this process's limit in addition to the first one; None for any number."""
    if os.environ.get(_WITHOUT_THREADS):
        return 0
    limit = _limit()
    return None if limit is None else max(0, (limit - _ALONE) // _FOR_A_THREAD)


def environment_without_threads() -> dict[str, str] | None:
    """Return the variables for a second attempt that uses no threads; None when this is that attempt."""
    return None if os.environ.get(_WITHOUT_THREADS) else {**os.environ, _WITHOUT_THREADS: "1"}


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, even if it says that a library cannot be loaded."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error)
    if isinstance(error, SystemError):  # Python itself was not told why it got no object
        return is_limited()
    return isinstance(error, MemoryError) or (
        isinstance(error, ImportError) and ("failed to map segment" in text or "allocate memory" in text)
    )


def demand_room() -> None:
    """Check that a library that does not check its own allocations will get enough memory.

    The next call must follow at once: no other thread runs Python code between the two.

    Raises:
        MemoryError: It would not get enough.
    """
    try:
        mmap.mmap(-1, _ROOM).close()
    except OSError:
        raise MemoryError from None


def describe_shortage(size: int) -> str:
    """Return the message for a limit of this process that leaves less than ``size`` bytes."""
    page, used = os.sysconf("SC_PAGE_SIZE"), Path("/proc/self/statm").read_bytes().split()
    tight = []
    for kind, at in ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5)):
        limit, least = resource.getrlimit(kind)[0], int(used[at]) * page + size
        if limit != resource.RLIM_INFINITY and limit < least:
            tight.append(f"the limit is {limit >> 20} MiB, and sifmake needs at least {-(-least >> 20)} MiB")
    what, _, hint = NO_MEMORY.partition("; ")
    return f"{what}: {tight[0]}; {hint}" if tight else NO_MEMORY


def _limit() -> int | None:
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=None)


def _is_strict() -> bool:
    """Tell whether the kernel never promises more memory than there is."""
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_bytes().strip() == b"2"
    except OSError:
        return False
