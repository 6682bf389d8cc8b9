"""Helpers that the functions of the API share."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from sifmake.errors import TargetExistsError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from sifmake.registry.settings import Credentials

StrPath: TypeAlias = "str | os.PathLike[str]"
REPLACE_HINT = "use force=True to replace it"


def as_path(path: StrPath | None) -> Path | None:
    """Return a path as a ``Path``; None stays None."""
    return None if path is None else Path(path)


def as_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return names as a tuple; a single text is one name."""
    return (names,) if isinstance(names, str) else tuple(names)


def registry_credentials(given: tuple[str, str] | None) -> Credentials | None:
    """Return a user and a password as the registry client takes them."""
    from sifmake.registry.settings import COMMAND_LINE, Credentials

    return None if given is None else Credentials(*given, origin=COMMAND_LINE)


@contextmanager
def output_file(target: StrPath, *, force: bool, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open a file that the caller names as an output; see :func:`~sifmake.output_path.open_output`."""
    from sifmake.output_path import open_output

    try:
        # Absolute: a dash is a file here, and not standard output.
        with open_output(Path(target).absolute(), replace=force, mode=mode) as file:
            yield file
    except TargetExistsError as error:
        error.hint = REPLACE_HINT
        raise


def resolved_folders(folders: Iterable[StrPath]) -> tuple[Path, ...]:
    """Return the paths of folders with their links resolved."""
    return tuple(Path(folder).resolve() for folder in folders)
