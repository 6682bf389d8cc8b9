"""Files and folders as the user knows them, with their role and a hint for when they cannot be written."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sifmake.os_errors import path_in
from sifmake.temporaries import TEMP_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator


class Place(NamedTuple):
    """A file or folder that gets bytes.

    Attributes:
        role: Its name for the user, such as ``the store`` or ``the image file``.
        path: Its path as the user knows it; it need not exist.
        hint: What to do if there is not enough room, an imperative.
    """

    role: str
    path: Path
    hint: str = ""


def store_place(root: Path) -> Place:
    """Return the store as a place."""
    hint = "make room with `sifmake cache gc --max-age 7d`, or set SIFMAKE_CACHE to a folder on another file system"
    return Place("the store", root, hint)


def output_place(path: Path) -> Place:
    """Return the output file that the user named as a place."""
    return Place("the image file", path, "name an image file on another file system")


def results_place(path: Path) -> Place:
    """Return the folder for a project's unfinished files, or a file in it, as a place."""
    return Place("the folder for results", path, "free some space there, or move the project to another file system")


@contextmanager
def telling_places(*places: Place) -> Iterator[None]:
    """Add the role of the file to errors of the operating system that leave the block.

    The error's path gets the role of the place that contains it. Names of temporary files are cut from it, so that it
    ends at a folder that the user knows.

    Args:
        places: The first match is used; a file also matches its folder, if nothing else does.
    """
    try:
        yield
    except OSError as error:
        tell_place(error, *places)
        raise


def tell_place(error: OSError, *places: Place) -> None:
    """Add the role of the file to an error; see :func:`telling_places`."""
    path = _known_path(path_in(error))
    if not path or not error.strerror:
        return
    error.filename = path
    place = _find(Path(path).resolve(), places)
    if place is not None and not getattr(error, "__notes__", None):
        error.strerror = f"{error.strerror} ({place.role})"
        error.add_note(place.role)


def _known_path(path: str) -> str:
    """Return a path up to the first component that is the name of something temporary."""
    head, found, _ = path.partition(f"/{TEMP_PREFIX}")
    return (head or "/") if found else path


def _find(path: Path, places: tuple[Place, ...]) -> Place | None:
    """Return the place that contains a path, else a place that is a file in this folder."""
    known = [(place, place.path.resolve()) for place in places]
    inside = [place for place, there in known if path.is_relative_to(there)]
    beside = [place for place, there in known if path == there.parent]
    return next(iter(inside + beside), None)
