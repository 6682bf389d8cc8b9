"""Paths in tar entries and the markers among them (OCI image spec, layer.md)."""

from __future__ import annotations

from sifmake.layers.entry import OPAQUE, WHITEOUT

_PREFIX = b".wh."
_OPAQUE_NAME = b".wh..wh..opq"
AUFS_PREFIX = b".wh..wh."
"""Names that AUFS kept for itself; they do not belong in an image."""


def normalise(name: bytes) -> bytes:
    """Return a path without leading slash, ``.``, ``..`` and empty components; ``b""`` for the root.

    ``..`` never leads above the root, so a hostile name stays inside the image.
    """
    if name[:2] == b"./":
        name = name[2:]
    if name[-1:] == b"/":
        name = name[:-1]
    # Not ``in``, for which Python first tries to take bytes for a number, and makes an exception for each name.
    if name[:1] in (b"/", b".") or name.find(b"/.") >= 0 or name.find(b"//") >= 0 or name[-1:] == b"/":
        return _normalise_odd(name)
    return name


def _normalise_odd(name: bytes) -> bytes:
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def marker(path: bytes) -> tuple[int, bytes] | None:
    """Classify a normalised path that contains ``.wh.``.

    Returns:
        ``(WHITEOUT, hidden path)``, ``(OPAQUE, directory)``, ``(0, b"")`` for a path to ignore with a warning,
        ``(-1, b"")`` for AUFS's own files, or None when the path is an ordinary one.
    """
    folder, _, name = path.rpartition(b"/")
    if any(part.startswith(AUFS_PREFIX) and part != _OPAQUE_NAME for part in path.split(b"/")):
        return -1, b""
    if any(part.startswith(_PREFIX) for part in folder.split(b"/")):
        return 0, b""
    if not name.startswith(_PREFIX):
        return None
    if name == _OPAQUE_NAME:
        return OPAQUE, folder
    hidden = name[len(_PREFIX) :]
    if hidden in (b"", b".", b".."):
        return 0, b""
    return WHITEOUT, folder + b"/" + hidden if folder else hidden
