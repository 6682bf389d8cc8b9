"""The planned file tree of the container: the image's folder with host paths mounted over it."""

from __future__ import annotations

import os
import stat

_MAX_LINKS = 40
_PART = 1 << 16
"""Bytes to read at a time."""


class ResolvedPath:
    """The meaning of a path in the container.

    Attributes:
        path: The path with all symbolic links resolved.
        host: Its path on the host; empty if it does not exist yet.
        missing: How many of its last components do not exist.
        mounted: Whether it is inside something that is mounted over the image.
    """

    def __init__(self, path: str, host: str, missing: int, *, mounted: bool) -> None:
        self.path = path
        self.host = host
        self.missing = missing
        self.mounted = mounted


class ContainerPaths:
    """Resolves container paths; symbolic links in the image never lead out of it."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.mounts: dict[str, str] = {}

    def add(self, target: str, host: str) -> None:
        """Record that a host path is mounted on a resolved container path; if empty, it is a new empty folder."""
        self.mounts = {path: source for path, source in self.mounts.items() if not is_below(path, target)}
        self.mounts[target] = host

    def where(self, path: str) -> tuple[str, bool]:
        """Return the host path of a resolved container path (empty if there is none), and whether it is mounted."""
        at = path
        while at not in self.mounts:
            if at == "/":
                return self.image + path, False
            at = at.rpartition("/")[0] or "/"
        source = self.mounts[at]
        if source and at != path:
            return f"{source}/{path[len(at) :].lstrip('/')}", True
        return (source if at == path else ""), True

    def resolve(self, path: str) -> ResolvedPath:
        """Follow a path inside the container; OSError if there are too many links."""
        pending = [name for name in reversed(path.split("/")) if name not in ("", ".")]
        at, host, mounted, links = "/", self.image, False, 0
        while pending:
            name = pending.pop()
            if name == "..":
                at = at.rpartition("/")[0] or "/"
                host, mounted = self.where(at)
                continue
            following = f"{at.rstrip('/')}/{name}"
            host, mounted = self.where(following)
            if following in self.mounts:
                at = following
                continue
            kind = mode_of(host)
            if kind is None:
                names = [name, *reversed(pending)]
                return ResolvedPath("/".join([at.rstrip("/"), *names]), "", len(names), mounted=mounted)
            if stat.S_ISLNK(kind):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(40, "too many levels of symbolic links", path)
                target = os.readlink(host)
                at = "/" if target.startswith("/") else at
                pending += [part for part in reversed(target.split("/")) if part not in ("", ".")]
                continue
            at = following
        host, mounted = self.where(at)
        return ResolvedPath(at, host, 0, mounted=mounted)

    def read(self, path: str, limit: int = 1 << 20) -> str | None:
        """Return the text of a regular file in the container; None if there is none."""
        place = self.resolve(path)
        kind = mode_of(place.host) if place.host else None
        if kind is None or not stat.S_ISREG(kind):
            return None
        try:
            fd = os.open(place.host, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            return None
        parts: list[bytes] = []
        while limit > 0 and (part := os.read(fd, min(limit, _PART))):
            parts.append(part)
            limit -= len(part)
        os.close(fd)
        return b"".join(parts).decode("utf-8", "surrogateescape")

    def mode(self, path: str) -> int | None:
        """Return the mode of the file that a path leads to; None if there is none."""
        place = self.resolve(path)
        return mode_of(place.host) if place.host else None


def mode_of(host: str) -> int | None:
    """Return the mode of a host path without following a link; None if there is none."""
    try:
        return os.lstat(host).st_mode
    except OSError:
        return None


def is_below(path: str, folder: str) -> bool:
    """Whether a path is the folder itself or is inside it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
