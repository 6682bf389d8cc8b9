"""Output files that a user names: checked before anything is fetched, and never replaced without permission."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager
from shlex import quote
from typing import TYPE_CHECKING, BinaryIO

from sifmake.errors import OutputPathError, TargetExistsError
from sifmake.files import atomic_write, refuse_irregular, why_irregular
from sifmake.printing import output_failed
from sifmake.temporaries import NO_NAMELESS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STANDARD_STREAM = "-"
"""Stands for standard output or input."""


def check_output(path: Path, usual_name: str = "image.sif") -> None:
    """Check that a file can be written, as far as that is possible beforehand.

    Args:
        path: The file; an existing file may be replaced.
        usual_name: File name that the hint suggests if the path is a folder.

    Raises:
        OutputPathError: The path is not a regular file, or its folder is missing or read-only.
        OSError: The path cannot be examined.
    """
    if path.is_dir():
        hint = f"name a file in it, for example {quote(str(path / usual_name))}"
        raise OutputPathError("the output file is a folder", where=str(path), hint=hint)
    _check_folder(path)
    refuse_irregular(path)


def _check_folder(path: Path) -> None:
    where = str(path.parent)
    try:
        fd = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        if not path.parent.is_dir():
            hint = f"run `mkdir -p {quote(where)}`"
            raise OutputPathError("the folder of the output file does not exist", where=where, hint=hint) from None
    except NotADirectoryError:
        raise OutputPathError("not a folder", where=where, hint="name a file in a folder") from None
    except OSError as error:
        if error.errno not in NO_NAMELESS or not os.access(path.parent, os.W_OK | os.X_OK):
            what = f"cannot create a file in {where} ({error.strerror})"
            raise OutputPathError(what, where=str(path), hint="name a file in another folder") from None
    else:
        os.close(fd)


@contextmanager
def open_output(path: Path, *, replace: bool, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open an output that a user named: a new file, an existing device or pipe, or ``-`` for standard output.

    Args:
        path: The output; a new file appears complete or not at all.
        replace: Whether an existing file may be replaced.
        mode: Permission bits of a new file.

    Raises:
        TargetExistsError: The file exists.
        OutputPathError: The output is a folder or a terminal.
        OSError: The output cannot be written.
    """
    if str(path) == STANDARD_STREAM or _is_standard_output(path):
        yield from _standard_output()
    elif not why_irregular(path):
        if os.path.lexists(path) and not replace:
            raise TargetExistsError(
                "the file already exists", where=str(path), hint="use --force (force=True) to replace it"
            )
        check_output(path, "export")
        with atomic_write(path, mode) as file:
            yield file
    elif stat.S_ISFIFO(path.stat().st_mode) or stat.S_ISCHR(path.stat().st_mode):
        with path.open("wb") as file:
            yield file
    else:
        check_output(path, "export")


def _is_standard_output(path: Path) -> bool:
    """Tell whether a path names this process's standard output; opening it again would write from byte 0."""
    return str(path) in {"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}


def _standard_output() -> Iterator[BinaryIO]:
    if sys.stdout.isatty():
        raise OutputPathError(
            "refusing to write binary data to a terminal", where="standard output", hint="redirect it to a file: > FILE"
        )
    sys.stdout.flush()
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except OSError as error:
        if error.filename is not None:
            raise
        raise output_failed(error) from None
