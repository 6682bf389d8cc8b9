"""The words to execute in the container: a command, the runscript, the test script or a shell."""

from __future__ import annotations

import stat

from sifmake.runtime.environment import shell_lines
from sifmake.runtime.errors import RunError
from sifmake.runtime.shell_subset import NeedsShell, UnbalancedError, split_words
from sifmake.runtime.startable import check_startable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.runtime.container_paths import ContainerPaths
    from sifmake.runtime.environment import Environment
    from sifmake.runtime.request import Request

_RUNSCRIPT = "/.singularity.d/runscript"
_TEST = "/.singularity.d/test"
_OCI_LINE = 'eval "set ${SINGULARITY_OCI_RUN}"'
"""The line with which both tools recognize a runscript that was made from an OCI configuration."""
_SHELLS = ("/bin/bash", "/bin/sh")
_SHELL = "/bin/sh"


def arguments_of(request: Request, view: ContainerPaths, environment: Environment) -> list[str]:
    """Return the words to execute; may change the environment.

    Raises:
        RunError: The image lacks the program to run.
    """
    words = {"exec": _command, "run": _runscript, "shell": _shell, "test": _test}[request.action](
        request, view, environment
    )
    words[0] = _found(words[0], view, environment.values)
    check_startable(words[0], view, environment.values["PWD"])
    if not environment.rest:
        return words
    if not _is_file(view, _SHELL):
        raise RunError(
            f"{environment.rest[0]} does more than set variables, and the image has no {_SHELL} to run it",
            where=request.sif,
        )
    script = "\n".join([*shell_lines(environment, request), 'exec "$@"'])
    return [_SHELL, "-c", script, "sifmake", *words]


def _command(request: Request, _view: ContainerPaths, _environment: Environment) -> list[str]:
    """Return the words of ``exec``."""
    return request.arguments


def _shell(request: Request, view: ContainerPaths, environment: Environment) -> list[str]:
    """Return the image's shell, or the requested one."""
    found = request.shell or next((path for path in _SHELLS if _is_file(view, path)), "")
    if not found:
        raise RunError(
            f"the image has no shell ({', '.join(_SHELLS)})",
            where=request.sif,
            hint="use `sifmake exec` to run a program in it",
        )
    environment.values["SHELL"] = found
    return [found, *(["--norc"] if found.endswith("/bash") else [])]


def _test(request: Request, view: ContainerPaths, _environment: Environment) -> list[str]:
    """Return the test script, or a shell command that reports that there is none."""
    if _is_file(view, _TEST):
        return [_SHELL, _TEST, *request.arguments] if _is_file(view, _SHELL) else [_TEST, *request.arguments]
    if not _is_file(view, _SHELL):
        raise RunError("the image has neither a test script nor /bin/sh", where=request.sif)
    return [_SHELL, "-c", f"echo 'No test found in container, executing {_SHELL} -c true'"]


def _runscript(request: Request, view: ContainerPaths, environment: Environment) -> list[str]:
    """Return the runscript; for one made from an OCI configuration, return the resulting words."""
    script = view.read(_RUNSCRIPT)
    if script is None:
        raise RunError("the image has no runscript", where=request.sif, hint="run `sifmake exec IMAGE COMMAND`")
    if _OCI_LINE not in (line.strip() for line in script.split("\n")):
        return [_RUNSCRIPT, *request.arguments]
    entrypoint, cmd = _oci_words(script, "OCI_ENTRYPOINT"), _oci_words(script, "OCI_CMD")
    exact = entrypoint + request.arguments if request.arguments else entrypoint + cmd
    if not exact:
        raise RunError(
            "the image has no entrypoint and no command",
            where=request.sif,
            hint="run `sifmake exec IMAGE COMMAND` or `sifmake shell IMAGE`",
        )
    if request.no_eval or not request.arguments:
        return exact
    try:
        values = environment.values if not environment.rest else environment.host | environment.values
        return _as_set(entrypoint + split_words(" ".join(f'"{word}"' for word in request.arguments), values))
    except UnbalancedError as error:
        raise RunError(
            f"an argument cannot be evaluated: {error}", hint="use --no-eval to pass arguments unchanged"
        ) from None
    except NeedsShell:
        if _is_file(view, _SHELL):
            return [_SHELL, _RUNSCRIPT, *request.arguments]
        raise RunError(
            f"evaluating an argument needs a shell, and the image has no {_SHELL}",
            where=request.sif,
            hint="use --no-eval to pass arguments unchanged",
        ) from None


def _as_set(words: list[str]) -> list[str]:
    """Return the positional parameters that ``set`` makes of words: a leading ``--`` ends its options."""
    return words[1:] if words[:1] == ["--"] and len(words) > 1 else words


def _oci_words(script: str, name: str) -> list[str]:
    """Return the words of the list in a variable of a runscript."""
    start = f"\n{name}='"
    at = script.find(start)
    if at < 0:
        return []
    lines = script[at + 1 :]
    try:
        end = _end_of_quotes(lines, len(name) + 1)
        value = split_words(lines[len(name) + 1 : end], {})
        return split_words(value[0], {}) if value else []
    except (NeedsShell, UnbalancedError):
        raise RunError(f"the runscript has a malformed {name}", hint="run `sifmake exec IMAGE COMMAND`") from None


def _end_of_quotes(text: str, at: int) -> int:
    """Return the end of the quoted word that begins at a position."""
    quote = ""
    while at < len(text) and (quote or text[at] not in " \t\n;"):
        if not quote and text[at] in "'\"":
            quote = text[at]
        elif text[at] == quote:
            quote = ""
        at += 1
    return at


def _is_file(view: ContainerPaths, path: str) -> bool:
    """Whether a path leads to a regular file in the container."""
    mode = view.mode(path)
    return mode is not None and stat.S_ISREG(mode)


def _found(name: str, view: ContainerPaths, values: Mapping[str, str]) -> str:
    """Return the path of a program as Apptainer would pass it; if it is missing, RunError with Apptainer's message."""
    if "/" not in name:
        return _found_on_path(name, view, values)
    mode = view.mode(name if name.startswith("/") else f"{values['PWD']}/{name}")
    if mode is None:
        raise RunError(f"stat {name}: no such file or directory", hint="check the path: it is not in the image")
    if stat.S_ISDIR(mode):
        raise RunError(f"{name}: is a directory")
    if not mode & 0o111:
        raise RunError(f"{name}: permission denied", hint="make the file executable when you build the image")
    return name


def _found_on_path(name: str, view: ContainerPaths, values: Mapping[str, str]) -> str:
    """Return the first executable file with a name on PATH."""
    for folder in values.get("PATH", "").split(":"):
        path = f"{folder or '.'}/{name}"
        mode = view.mode(path if path.startswith("/") else f"{values['PWD']}/{path}")
        if name and mode is not None and stat.S_ISREG(mode) and mode & 0o111:
            return path
    raise RunError(f'"{name}": executable file not found in $PATH')
