"""Files and folders as the user knows them: what they are to the user, and what helps if they cannot be written."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.os_errors import path_in
from sifmake.temporaries import TEMP_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Place:
    """A file or folder that gets bytes.

    Attributes:
        role: What it is to the user: ``the store``, ``the image file``.
        path: Where it is, as the user knows it; it need not exist.
        hint: What helps if there is not enough room, an imperative.
    """

    role: str
    path: Path
    hint: str = ""


def store_place(root: Path) -> Place:
    """Return the store as a place."""
    hint = "make room with `sifmake cache gc --max-age 7d`, or set SIFMAKE_CACHE to a folder on another file system"
    return Place("the store", root, hint)


def output_place(path: Path) -> Place:
    """Return the file that a user asked for as a place."""
    return Place("the image file", path, "name an image file on another file system")


def results_place(path: Path) -> Place:
    """Return the folder of a project that holds what is not finished yet as a place, or a file in it."""
    return Place("the folder for results", path, "free some space there, or move the project to another file system")


@contextmanager
def telling_places(*places: Place) -> Iterator[None]:
    """Let errors of the operating system that leave the block say of what they are.

    A path below a place gets its role. Names that were made up for what is not finished yet are left out: the folder
    that the user knows stays.

    Args:
        places: The first that fits counts; a file stands for its folder too, if nothing else does.
    """
    try:
        yield
    except OSError as error:
        tell_place(error, *places)
        raise


def tell_place(error: OSError, *places: Place) -> None:
    """Let an error say of what it is; see :func:`telling_places`."""
    path = _known_path(path_in(error))
    if not path or not error.strerror:
        return
    error.filename = path
    place = _find(Path(path).resolve(), places)
    if place is not None and not getattr(error, "__notes__", None):
        error.strerror = f"{error.strerror} ({place.role})"
        error.add_note(place.role)


def _known_path(path: str) -> str:
    """Return a path up to the first name in it that was made up for something temporary."""
    head, found, _ = path.partition(f"/{TEMP_PREFIX}")
    return (head or "/") if found else path


def _find(path: Path, places: tuple[Place, ...]) -> Place | None:
    """Return the place that a path is in, else the one that is a file in this folder."""
    known = [(place, place.path.resolve()) for place in places]
    inside = [place for place, there in known if path.is_relative_to(there)]
    beside = [place for place, there in known if path == there.parent]
    return next(iter(inside + beside), None)
