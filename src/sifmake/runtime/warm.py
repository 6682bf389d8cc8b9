"""Reading the program while the container is still being built.

A cold start mostly waits for the program's blocks to be decompressed, and that can be done by another processor.
"""

from __future__ import annotations

import os
import stat

from sifmake.runtime.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.runtime.request import Request

FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where a program without a path most likely is; the image's own PATH is not yet known."""
LIBRARY = "libc.so.6"
"""What nearly every program needs; it lies beside the loader (glibc)."""
HEAD = 4096
"""Bytes of a program in which its program headers are looked for."""
ELF64, HEADER_SIZE, INTERPRETER = b"\x7fELF\x02\x01", 56, b"\x03\0\0\0"
"""Identification of a 64-bit little-endian ELF file, size of a program header, type PT_INTERP (ELF specification)."""
AMOUNT = 1 << 20
"""Most bytes to read: about what can be done until the program starts."""


def warm(request: Request, root: str) -> None:
    """Read the program, as far as it can be guessed, its loader and C library from the mounted image."""
    if request.action != "exec" or not request.arguments:
        return
    name, view = request.arguments[0], View(root)
    paths = [name] if name.startswith("/") else [f"{folder}/{name}" for folder in FOLDERS]
    for path in paths:
        if read_ahead(view, path):
            loader = loader_of(view, path)
            if loader and read_ahead(view, loader):
                read_ahead(view, f"{view.resolve(loader).path.rpartition('/')[0]}/{LIBRARY}")
            return


def read_ahead(view: View, path: str) -> bool:
    """Read the beginning of a regular file of the image into the kernel's memory; returns whether there is one."""
    try:
        host = view.resolve(path).host
        if not host or not stat.S_ISREG(os.lstat(host).st_mode):
            return False
        fd = os.open(host, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    os.posix_fadvise(fd, 0, AMOUNT, os.POSIX_FADV_WILLNEED)
    os.close(fd)
    return True


def loader_of(view: View, path: str) -> str:
    """Return the loader that a program of the image asks for, nothing if it is static, a script or not to be read."""
    try:
        fd = os.open(view.resolve(path).host, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    head = os.pread(fd, HEAD, 0)
    os.close(fd)
    if not head.startswith(ELF64):
        return ""
    table, count = int.from_bytes(head[32:40], "little"), int.from_bytes(head[56:58], "little")
    for at in range(table, min(table + count * HEADER_SIZE, len(head)), HEADER_SIZE):
        if head[at : at + 4] == INTERPRETER:
            start = int.from_bytes(head[at + 8 : at + 16], "little")
            return os.fsdecode(head[start:].partition(b"\0")[0])
    return ""
