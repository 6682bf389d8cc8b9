"""Reading and copying complete ranges of open files, even if one system call handles only a part."""

from __future__ import annotations

import os

from sifmake.os_errors import naming_open

READ_SIZE = 1 << 20


def read_at(fd: int, size: int, offset: int) -> bytes:
    """Return ``size`` bytes at an offset; fewer only at the end of the file.

    A single ``pread`` may return less: on some file systems, and always for more than 2 GiB.
    """
    parts: list[bytes] = []
    with naming_open(fd):
        while size > 0:
            part = os.pread(fd, min(size, 1 << 30), offset)
            if not part:
                break
            parts.append(part)
            size -= len(part)
            offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write all of the data at an offset."""
    view = memoryview(data)
    with naming_open(fd):
        while view:
            done = os.pwrite(fd, view, offset)
            view = view[done:]
            offset += done


def copy_some(source: int, start: int, target: int, offset: int, size: int) -> int:
    """Copy up to ``size`` bytes from one open file to another; return how many, 0 only at the end of the source.

    The kernel copies, and shares blocks if the file system can. If it refuses for any reason, or returns 0 (both happen
    on file systems on which reading and writing work), the bytes are read and written instead; a real error then
    appears again.
    """
    try:
        copied = os.copy_file_range(source, target, size, start, offset)
    except OSError:
        copied = 0
    if copied:
        return copied
    with naming_open(source):
        data = os.pread(source, min(size, READ_SIZE), start)
    write_at(target, data, offset)
    return len(data)
