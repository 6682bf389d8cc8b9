"""Running programs in images, in a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from sifmake.errors import SifmakeError, TargetExistsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from sifmake.api.common import StrPath

_NAMES = ("apptainer", "singularity")
_PROGRAM = """#!/bin/sh
# Written by sifmake shim: runs sifmake under the name of {name}.
exec {python} -P -c 'from sifmake.cli.stand_in import main; raise SystemExit(main("{name}"))' "$@"
"""
_ACTIONS = ("exec", "run", "shell", "test")


class _Streams(TypedDict, total=False):
    """What :func:`execute` passes to :func:`subprocess.run`."""

    input: str | bytes | None
    stdin: Any
    stdout: Any
    stderr: Any
    capture_output: bool
    text: bool | None
    encoding: str | None
    errors: str | None
    timeout: float | None
    cwd: StrPath | None
    env: Mapping[str, str] | None
    pass_fds: Sequence[int]


def execute(
    image: StrPath,
    command: Sequence[str] = (),
    *,
    action: Literal["exec", "run", "shell", "test"] = "exec",
    options: Sequence[str] = (),
    check: bool = False,
    **streams: Unpack[_Streams],
) -> subprocess.CompletedProcess[Any]:
    """Run a command in a SIF file or image and wait until it ends, as ``sifmake exec`` does.

    For example::

        done = sifmake.execute("alpine.sif", ["cat", "/etc/os-release"], capture_output=True, text=True, check=True)
        print(done.stdout)

    The program runs in a child process; the calling process is not changed.

    Args:
        image: SIF file, or URI as for :func:`pull`.
        command: The command and its arguments; for the other actions, arguments for the script of the image.
        action: What to run: a command (``exec``), the runscript (``run``), a shell, or the test script.
        options: Options of ``sifmake exec``, such as ``["--bind", "/data", "--contain"]``.
        check: Whether a status other than 0 is an error.
        streams: Options for :func:`subprocess.run`, for example ``input``, ``capture_output``, ``text``, ``timeout``,
            ``cwd`` and ``env``.

    Returns:
        The exit status and the captured output. If the program could not be started, the status is that of
        ``sifmake exec``, and standard error says why.

    Raises:
        UsageError: The command for ``exec`` is missing, or there is no such action.
        subprocess.CalledProcessError: The status is not 0 and ``check`` is set.
        subprocess.TimeoutExpired: It took too long.
    """
    if action not in _ACTIONS:
        raise UsageError("there is no such action", where=action, hint=f"use one of {', '.join(_ACTIONS)}")
    if action == "exec" and not command:
        raise UsageError(
            "the command is missing", where=os.fspath(image), hint="use action='run' to run the image's runscript"
        )
    if isinstance(command, str) or isinstance(options, str):
        raise UsageError("command and options must be lists of words", hint="write ['cat', 'file'], not 'cat file'")
    if not sys.executable:
        raise SifmakeError("cannot find the Python interpreter of this process (sys.executable is empty)")
    # -P: do not import modules from the current folder.
    words = [sys.executable, "-P", "-m", "sifmake", action, *options, "--", os.fspath(image), *command]
    keywords: dict[str, Any] = {**streams}
    # The child is sifmake too: it may get our secrets, and withholds them from every program that it starts.
    environment = keywords.pop("env", None) or dict(os.environ)
    done: subprocess.CompletedProcess[Any] = subprocess.run(words, check=check, env=environment, **keywords)
    return done


def write_shims(folder: StrPath, *, force: bool = False) -> tuple[Path, ...]:
    """Write programs named ``apptainer`` and ``singularity`` that run sifmake, as ``sifmake shim`` does.

    Args:
        folder: Folder for the programs; created if it is missing.
        force: Whether to replace programs that sifmake did not write.

    Returns:
        The paths of the programs.

    Raises:
        TargetExistsError: Another program has one of the names, and ``force`` is not set.
        OSError: The programs cannot be written.
    """
    from sifmake.files import atomic_write, make_folders
    from sifmake.runtime.peers import is_ourselves

    paths = [Path(folder) / name for name in _NAMES]
    for path in paths:
        if (path.exists() or path.is_symlink()) and not force and not is_ourselves(str(path)):
            hint = "name another folder, or use --force (force=True)"
            raise TargetExistsError("the file exists and was not written by sifmake", where=str(path), hint=hint)
    make_folders(paths[0].parent)
    for path in paths:
        with atomic_write(path, 0o777) as file:
            file.write(_PROGRAM.format(name=path.name, python=quote(sys.executable)).encode())
    return tuple(paths)
