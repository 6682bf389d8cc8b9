"""The tree that a script changes: a kernel overlay over the unpacked layers, or a copy of them."""

from __future__ import annotations

import os

from sifmake.runtime.system import MS_NODEV, mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN = "redirect_dir=off,metacopy=off,index=off"
"""Options that would make an upper folder hard to read; they are off in user namespaces."""


def mount_overlay(lowers: Sequence[str], top: str, place: str, *, user: bool) -> str:
    """Mount the layers with an empty one on top; return the folder of the mount.

    Args:
        lowers: Folders, highest first.
        top: The layer with the attributes of the top folder.
        place: Folder in which ``upper``, ``work`` and ``root`` are created.
        user: Whether this is a user namespace.

    Raises:
        OSError: The kernel or the file system does not support it.
    """
    for name in ("upper", "work", "root"):
        os.mkdir(f"{place}/{name}", 0o755)
    # Without them the kernel mounts an overlay that cannot say what a folder hides, and notes have no place.
    attribute = f"{'user' if user else 'trusted'}.sifmake.tried"
    os.setxattr(f"{place}/work", attribute, b"y")
    os.removexattr(f"{place}/work", attribute)
    _copy_attributes(top, f"{place}/upper")
    folders = [*lowers, f"{place}/upper", f"{place}/work"]
    fds = [os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for folder in folders]
    try:
        # By descriptor number, because the kernel splits paths at some characters, and many paths would not fit into a
        # page.
        *below, upper, work = [f"/proc/self/fd/{fd}" for fd in fds]
        options = f"lowerdir={':'.join(below)},upperdir={upper},workdir={work}," + ("userxattr" if user else _PLAIN)
        try:  # no need to sync (Linux 5.10): what a crash loses is built again
            mount("overlay", f"{place}/root", "overlay", MS_NODEV, f"{options},volatile")
        except OSError:
            mount("overlay", f"{place}/root", "overlay", MS_NODEV, options)
    finally:
        for fd in fds:
            os.close(fd)
    return f"{place}/root"


def _copy_attributes(source: str, target: str) -> None:
    """Copy owner, mode, times and extended attributes of another folder."""
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    for name in os.listxattr(source):
        if not name.startswith(("trusted.overlay.", "user.overlay.")):
            os.setxattr(target, name, os.getxattr(source, name))
    os.chmod(target, status.st_mode & 0o7777)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
