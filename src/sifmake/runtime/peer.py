"""Pass the verified file to a peer, which opens it by its path."""

from __future__ import annotations

import os

from sifmake.runtime.caller import current_folder
from sifmake.runtime.errors import RunError
from sifmake.runtime.rootfs import MOUNT_POINTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.runtime.request import Request


def verified_path(request: Request, environ: Mapping[str, str]) -> str:
    """Return a path of the verified file.

    The peers open an image by its path and follow links, so an open file cannot be passed to them. For root, the file
    is mounted in a private mount namespace, where no one can replace it. Other users cannot do that without losing the
    peers' setuid programs; for them the path is compared with the open file once more.

    Raises:
        RunError: The path leads to another file than the verified one.
    """
    if os.geteuid() == 0:
        return _private_name(request, environ)
    if not os.path.samestat(os.stat(request.sif), os.fstat(request.fd)):
        raise _replaced(request.sif)
    return request.sif


def _private_name(request: Request, environ: Mapping[str, str]) -> str:
    """Mount the file where only this process and its children can see it, and return its path there."""
    from sifmake.runtime import system

    folder = _unused_folder([*request.peer_words, *request.arguments, *environ.values(), current_folder()])
    system.unshare(system.CLONE_NEWNS)
    system.mount("", "/", "", system.MS_REC | system.MS_SLAVE)
    file = os.open(
        request.sif, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    )  # opened again: mounts need a file of the new namespace
    if not os.path.samestat(os.fstat(file), os.fstat(request.fd)):
        raise _replaced(request.sif)
    system.mount("tmpfs", folder, "tmpfs", system.MS_NOSUID | system.MS_NODEV, "mode=0755,size=64k")
    path = f"{folder}/{os.path.basename(request.sif)}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
    system.mount(f"/proc/self/fd/{file}", path, "", system.MS_BIND)
    os.close(file)
    return path


def _unused_folder(texts: list[str]) -> str:
    """Return a folder that can be covered: no text names it or a path inside it."""
    for folder in reversed(MOUNT_POINTS):
        named = any(folder in text for text in texts)
        if os.path.isdir(folder) and not os.path.islink(folder) and not named:
            return folder
    raise RunError(
        f"all of {', '.join(MOUNT_POINTS)} are in use or missing",
        hint="create one of them as an empty folder, or use --runtime builtin",
    )


def _replaced(sif: str) -> RunError:
    """Return the error for a file that was replaced."""
    return RunError("the file was replaced while it was verified", where=sif, hint="run the command again")
