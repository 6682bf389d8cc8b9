"""Copy a tree with owners, modes, times, attributes and hard links, whatever kinds of files it has."""

from __future__ import annotations

import errno
import os
import stat

from sifmake.rootless.removal import empty_folder

_PART = 1 << 30
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OVERLAY = ("trusted.overlay.", "user.overlay.")


def copy_layers(lowers: list[str], target: str) -> None:
    """Copy layers into a folder, so that it looks like an overlay of them.

    Args:
        lowers: Folders with layers in overlay's form, highest first.
        target: An empty folder.

    Raises:
        OSError: Something cannot be read or written.
    """
    for lower in reversed(lowers):
        _Copy(lower, target).run()


class _Copy:
    """Copies one layer over the existing files. The current folder is not used: paths start at two open folders."""

    def __init__(self, source: str, target: str) -> None:
        self._source = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._target = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._paths = (os.fsencode(source), os.fsencode(target))
        self._first_names: dict[tuple[int, int], bytes] = {}

    def run(self) -> None:
        try:
            folders = [b"."]
            for folder in folders:  # grows while it is walked
                folders += self._copy_folder(folder)
            for folder in reversed(folders):
                self._dress(folder, os.stat(folder, dir_fd=self._source))
        finally:
            os.close(self._source)
            os.close(self._target)

    def _copy_folder(self, folder: bytes) -> list[bytes]:
        """Copy the content of a folder; return its subfolders."""
        found = []
        for name in sorted(os.listdir(os.path.join(self._paths[0], folder))):
            path = os.path.join(folder, name) if folder != b"." else name
            status = os.stat(path, dir_fd=self._source, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._make_folder(path)
                found.append(path)
            else:
                self._remove(path)
                self._copy_node(path, status)
        return found

    def _make_folder(self, path: bytes) -> None:
        try:
            mode = os.stat(path, dir_fd=self._target, follow_symlinks=False).st_mode
        except FileNotFoundError:
            mode = 0
        if stat.S_ISDIR(mode):
            if self._is_opaque(path):
                empty_folder(os.fsdecode(os.path.join(self._paths[1], path)))
            return
        if mode:
            os.unlink(path, dir_fd=self._target)
        os.mkdir(path, 0o700, dir_fd=self._target)

    def _is_opaque(self, path: bytes) -> bool:
        full = os.path.join(self._paths[0], path)
        return any(_get_xattr(full, f"{prefix}opaque") == b"y" for prefix in _OVERLAY)

    def _remove(self, path: bytes) -> None:
        """Remove an existing file or folder."""
        try:
            os.unlink(path, dir_fd=self._target)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError) as error:
            full = os.path.join(self._paths[1], path)
            if error.errno == errno.EPERM and not os.path.isdir(full):
                raise
            empty_folder(os.fsdecode(full))
            os.rmdir(path, dir_fd=self._target)

    def _copy_node(self, path: bytes, status: os.stat_result) -> None:
        """Copy anything but a folder."""
        mode = status.st_mode
        if (stat.S_ISCHR(mode) and not status.st_rdev) or stat.S_ISSOCK(mode):
            return  # a whiteout is done when what it hides is removed
        if status.st_nlink > 1:
            first = self._first_names.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                ends = {"src_dir_fd": self._target, "dst_dir_fd": self._target}
                os.link(first, path, follow_symlinks=False, **ends)
                return
        if stat.S_ISREG(mode):
            self._copy_file(path)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(path, dir_fd=self._source), path, dir_fd=self._target)
        else:
            os.mknod(path, stat.S_IFMT(mode) | 0o600, status.st_rdev, dir_fd=self._target)
        self._dress(path, status)

    def _copy_file(self, path: bytes) -> None:
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._source)
        target = os.open(path, _NEW, 0o600, dir_fd=self._target)
        try:
            while os.copy_file_range(source, target, _PART):
                pass
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            while os.sendfile(target, source, None, _PART):
                pass
        finally:
            os.close(source)
            os.close(target)

    def _dress(self, path: bytes, status: os.stat_result) -> None:
        """Set owner, mode, attributes and times of a copy."""
        os.chown(path, status.st_uid, status.st_gid, dir_fd=self._target, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(path, status.st_mode & 0o7777, dir_fd=self._target)
        source, target = (os.path.join(folder, path) for folder in self._paths)
        for name in os.listxattr(source, follow_symlinks=False):
            if not name.startswith(_OVERLAY):
                _copy_xattr(source, target, name)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(path, ns=times, dir_fd=self._target, follow_symlinks=False)


def _get_xattr(path: bytes, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return None


def _copy_xattr(source: bytes, target: bytes, name: str) -> None:
    """Copy an attribute, if the file system and the namespace support it."""
    try:
        os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.ENODATA):
            raise
