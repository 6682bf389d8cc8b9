"""Read the program ahead while the container is still being set up.

A cold start mostly waits until the program's blocks are decompressed, which another processor can do meanwhile. Reading
ahead also decompresses each block only once. The loader reads pages in another order, and squashfuse, which
caches eight blocks, then decompresses many blocks several times.
"""

from __future__ import annotations

import os
import stat

from sifmake.runtime.container_paths import ContainerPaths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from sifmake.runtime.request import Request

_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Likely folders of a program without a path, because the image's PATH is not known yet."""
_LIBRARY = "libc.so.6"
"""The C library (glibc), which nearly every program needs; it is beside the loader."""
HEAD = 4096
"""Bytes at the beginning of a program in which to look for its program headers."""
_ELF, _INTERPRETER = b"\x7fELF", 3
"""Identification of an ELF file, type PT_INTERP of a program header (ELF specification)."""
_LAYOUTS = {b"\1": (28, 42, 4, 4, 4), b"\2": (32, 54, 8, 8, 8)}
"""By class (32 or 64 bit): offsets of e_phoff and e_phentsize, width of e_phoff, offset and width of p_offset."""
_AMOUNT = 2 << 20
"""Most bytes to read of one file: about the size of the C library."""
STEP = 1 << 17
"""Bytes to read at a time: the block size of most images, and as much as the kernel reads ahead for one request."""
ANNOUNCED = 8
"""Most requests in flight, because with more than 12 FUSE makes the caller wait."""


def warm(request: Request, root: str) -> None:
    """Read the program of a mounted image, if it can be guessed, and the libraries that load it."""
    if request.action != "exec" or not request.arguments:
        return
    name, view = request.arguments[0], ContainerPaths(root)
    paths = [name] if name.startswith("/") else [f"{folder}/{name}" for folder in _FOLDERS]
    for path in paths:
        files = open_file(view, path)
        if files:
            read_ahead(files + open_libraries(view, files[0]))
            return


def open_libraries(view: ContainerPaths, program: int) -> list[int]:
    """Return file descriptors of an open program's loader and of the C library, if they exist."""
    loader = loader_of(program)
    files = open_file(view, loader) if loader else []
    if files:
        files += open_file(view, f"{view.resolve(loader).path.rpartition('/')[0]}/{_LIBRARY}")
    return files


def open_file(view: ContainerPaths, path: str) -> list[int]:
    """Return the file descriptor of a regular file of the image as a list; empty if there is none."""
    try:
        host = view.resolve(path).host
        if not host or not stat.S_ISREG(os.lstat(host).st_mode):
            return []
        return [os.open(host, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)]
    except OSError:
        return []


def announce(files: list[int]) -> None:
    """Ask the kernel to start reading files."""
    places = [(fd, at) for fd in files for at in range(0, min(os.fstat(fd).st_size, _AMOUNT), STEP)]
    for fd, at in places[:ANNOUNCED]:
        os.posix_fadvise(fd, at, STEP, os.POSIX_FADV_WILLNEED)


def read_ahead(files: list[int]) -> None:
    """Read the beginnings of files into the page cache and close them; errors are left for the program to meet."""
    block = [bytearray(STEP)]
    for fd in files:
        try:
            at = 0
            while at < _AMOUNT and os.preadv(fd, block, at) == STEP:
                at += STEP
        except OSError:
            pass
        os.close(fd)


def loader_of(program: int) -> str:
    """Return the loader of an open program; empty if it is static or a script."""
    try:
        return loader_in(os.pread(program, HEAD, 0))
    except OSError:
        return ""


def loader_in(head: bytes) -> str:
    """Return the loader named at the beginning of a program; empty if it is static or a script."""
    if not head.startswith(_ELF) or head[4:5] not in _LAYOUTS:
        return ""
    order: Literal["little", "big"] = "little" if head[5:6] == b"\1" else "big"
    at_table, at_size, width, at_offset, offset_width = _LAYOUTS[head[4:5]]

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], order)

    table, size, count = number(at_table, width), number(at_size, 2), number(at_size + 2, 2)
    for at in range(table, min(table + count * size, len(head) - size + 1), max(size, 1)):
        if number(at, 4) == _INTERPRETER:
            return os.fsdecode(head[number(at + at_offset, offset_width) :].partition(b"\0")[0])
    return ""
