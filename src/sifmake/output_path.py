"""Output files that a user names: looked at before anything is fetched, and never replaced unasked."""

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
"""In place of a file: standard output or input."""


def check_output(path: Path, usual_name: str = "image.sif") -> None:
    """See to it that a file can be written, as far as one can know before it is made.

    Args:
        path: The file; one that is there may be replaced.
        usual_name: What the hint calls a file in a folder.

    Raises:
        OutputPathError: A folder or something else is there, or the folder of the file is missing or read-only.
        OSError: The path cannot be looked at.
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
            hint = f"mkdir -p {quote(where)}"
            raise OutputPathError("there is no such folder for the image file", where=where, hint=hint) from None
    except NotADirectoryError:
        raise OutputPathError("this is not a folder", where=where, hint="name a file in a folder") from None
    except OSError as error:
        if error.errno not in NO_NAMELESS or not os.access(path.parent, os.W_OK | os.X_OK):
            what = f"no file can be made in {where} ({error.strerror})"
            raise OutputPathError(what, where=str(path), hint="name a file in another folder") from None
    else:
        os.close(fd)


@contextmanager
def open_output(path: Path, *, replace: bool, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open what a user named as an output: a new file, a device or pipe to write into, or ``-`` for standard output.

    Args:
        path: A new file appears whole, or not at all.
        replace: Whether a file that is there may be replaced.
        mode: Permission bits of a new file.

    Raises:
        TargetExistsError: The file is there already.
        OutputPathError: It is a folder, or a terminal is to get the bytes.
        OSError: As writing does.
    """
    if str(path) == STANDARD_STREAM or _is_standard_output(path):
        yield from _standard_output()
    elif not why_irregular(path):
        if path.exists() and not replace:
            raise TargetExistsError("the file already exists", where=str(path), hint="replace it with --force")
        check_output(path, "export")
        with atomic_write(path, mode) as file:
            yield file
    elif stat.S_ISFIFO(path.stat().st_mode) or stat.S_ISCHR(path.stat().st_mode):
        with path.open("wb") as file:
            yield file
    else:
        check_output(path, "export")


def _is_standard_output(path: Path) -> bool:
    """Tell whether a path is a name of this process's standard output; opened anew it would begin at byte 0."""
    return str(path) in {"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}


def _standard_output() -> Iterator[BinaryIO]:
    if sys.stdout.isatty():
        raise OutputPathError("these bytes are not for a terminal", where="standard output", hint="redirect it: > FILE")
    sys.stdout.flush()
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except OSError as error:
        if error.filename is not None:
            raise
        raise output_failed(error) from None
