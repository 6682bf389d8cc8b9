"""Check that there is room for what is about to be written, before the first byte is downloaded."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import NoRoomError
from sifmake.quota import quota_left

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sifmake.places import Place


class Need(NamedTuple):
    """Bytes to be written to a place."""

    place: Place
    size: int


class _Room(NamedTuple):
    """The room at a path.

    Attributes:
        device: The number of the file system.
        blocks: Its size, which differs in a folder with a project quota from the rest of the same file system.
        free: Bytes that this user may fill.
        quota: Bytes that the quotas of user and group leave; None without quotas.
    """

    device: int
    blocks: int
    free: int
    quota: int | None


def check_room(needs: Iterable[Need]) -> None:
    """Raise an error if the needed bytes do not fit.

    The needs on one file system are added up. If the free space is unknown, everything fits.

    Args:
        needs: Lower bounds, because too high an estimate would refuse work that could succeed.

    Raises:
        NoRoomError: The bytes do not fit.
    """
    if error := find_shortage(needs):
        raise error


def find_shortage(needs: Iterable[Need]) -> NoRoomError | None:
    """Return the error if the needed bytes do not fit, or None; see :func:`check_room`."""
    by_place: dict[Place, int] = {}
    for place, size in needs:
        by_place[place] = by_place.get(place, 0) + size
    rooms = {place: _room_at(place.path) for place, size in by_place.items() if size > 0}
    found = [(room, Need(place, by_place[place])) for place, room in rooms.items() if room is not None]
    for device in {room.device for room, _ in found}:
        here = [(room, need) for room, need in found if room.device == device]
        quota = here[0][0].quota
        if quota is not None and quota < sum(need.size for _, need in here):
            return _shortage(errno.EDQUOT, [need for _, need in here], quota)
        for blocks in {room.blocks for room, _ in here}:
            some = [need for room, need in here if room.blocks == blocks]
            free = max(room.free for room, _ in here if room.blocks == blocks)
            if free < sum(need.size for need in some):
                return _shortage(errno.ENOSPC, some, free)
    return None


def check_open_file(fd: int, size: int) -> None:
    """Raise an error if bytes do not fit into the file system of an open file.

    Raises:
        OSError: They do not; it names no file.
    """
    free = _free(os.fstatvfs(fd))
    if free is not None and free < size:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {size} bytes are needed, {free} are free")


def _room_at(path: Path) -> _Room | None:
    """Return the room at a path, whose last folders may be missing; None if it is unknown."""
    while True:
        try:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            break
        except (FileNotFoundError, NotADirectoryError):
            if path == path.parent:
                return None
            path = path.parent
        except OSError:
            return None
    try:
        status, system = os.fstat(fd), os.fstatvfs(fd)
        free = _free(system)
        return None if free is None else _Room(status.st_dev, system.f_blocks, free, quota_left(fd))
    except OSError:
        return None
    finally:
        os.close(fd)


def _free(system: os.statvfs_result) -> int | None:
    """Return the free bytes; None if they mean nothing: some file systems report no size, and some are read-only."""
    if not system.f_blocks or system.f_flag & os.ST_RDONLY:
        return None
    return system.f_frsize * (system.f_bavail if os.geteuid() else system.f_bfree)


def _shortage(number: int, needs: Sequence[Need], free: int) -> NoRoomError:
    parts = [f"{place.role} {place.path} needs at least {size} bytes" for place, size in needs]
    there = "are free there" if number == errno.ENOSPC else "are left of your quota there"
    total = sum(need.size for need in needs)
    together = f", {total} bytes in all on one file system" if len(needs) > 1 else ""
    what = f"{os.strerror(number)}: {' and '.join(parts)}{together}; {free} {there}"
    return NoRoomError(what, hint="; or ".join(dict.fromkeys(need.place.hint for need in needs)))
