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
AMOUNT = 1 << 20
"""Most bytes to read: about what can be done until the program starts."""


def warm(request: Request, root: str) -> None:
    """Read the program, as far as it can be guessed, from the mounted image."""
    if request.action != "exec" or not request.arguments:
        return
    name, view = request.arguments[0], View(root)
    paths = [name] if name.startswith("/") else [f"{folder}/{name}" for folder in FOLDERS]
    for path in paths:
        if read_ahead(view, path):
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
