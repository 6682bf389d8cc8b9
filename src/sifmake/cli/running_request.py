"""Turn parsed options into a request for the built-in back end, or into command-line words for a peer."""

from __future__ import annotations

import os

from sifmake.cli.running_options import FLAG, HINTS, VALUE, long_word, peer_rows, shared_rows
from sifmake.runtime.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sifmake.cli.running_parse import Options

_GPU_DEVICES = {"nv": ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"), "rocm": ("/dev/kfd",)}
"""Options that ask for a GPU, and device files of which at least one exists if the driver of such a GPU is loaded."""

_NETWORK = ("net", "network")


def request_of(options: Options, environ: Mapping[str, str]) -> Request:
    """Return the options as a request for the built-in back end; the image is still as the user wrote it.

    Args:
        options: The options, including those from variables.
        environ: The host's environment, for the files of ``--env-file``.

    Raises:
        UsageError: A value is malformed.
        RunError: Only the peers support an option.
    """
    _refuse_peer_options(options)
    values = vars(options)
    request = Request(options.command, options.image, arguments=options.arguments)
    if options.bind or options.mount:
        from sifmake.runtime.binds import parse_binds, parse_mount

        request.binds = [*parse_binds(options.bind), *map(parse_mount, options.mount)]
    request.env = [*_env_files(_words_of(options.env_file), options, environ), *env_items(options.env)]
    for name in ("no_env", "scratch", "no_mount", "dns"):
        setattr(request, name, _words_of(values[name]))
    for name in ("workdir", "home", "hostname", "cwd", "ipc", "uts", "userns", "no_privs", "no_home", "quiet"):
        setattr(request, name, values[name])
    for name in ("writable_tmpfs", "no_eval", "no_umask", "no_init"):
        setattr(request, name, values[name] or options.compat)
    alone = options.containall or options.compat
    request.cleanenv = options.cleanenv or alone
    request.contain = options.contain or alone
    request.pid = (options.pid or alone) and not options.no_pid
    request.net = _is_cut_off(options)
    request.ipc = options.ipc or alone
    request.uts = options.uts or bool(options.hostname)
    request.unpack = True if options.unsquash or options.tmp_sandbox else False if options.no_tmp_sandbox else None
    request.shell = options.shell if options.command == "shell" else ""
    return request


def _refuse_peer_options(options: Options) -> None:
    """Raise RunError for an option that only the peers support, or that only root may use."""
    from sifmake.runtime.errors import RunError

    values = vars(options)
    for row in peer_rows(options.command):
        if values[row[0]] and not (row[0] in _NETWORK and _is_cut_off(options)):
            origin = options.given.get(row[0], long_word(row))
            instead = "leave it out" if origin.startswith("-") else "unset it"
            raise RunError(
                f"{origin} needs apptainer or singularity, and neither is on PATH or chosen",
                hint=f"install apptainer; {HINTS[row[0]]}" if row[0] in HINTS else f"install apptainer, or {instead}",
            )
    if options.keep_privs and os.geteuid() != 0:
        raise RunError("only root may use --keep-privs", hint="leave it out")


def _is_cut_off(options: Options) -> bool:
    """Whether the program gets no network; only the peers set up other networks."""
    return bool(options.net) and options.network == "none"


def leave_out_idle(options: Options) -> list[str]:
    """Leave out options of the peers that have no effect on this machine; return warnings about them.

    A requested GPU that does not exist is a warning, as with the peers, and the program runs.
    """
    missing = [
        name
        for name, devices in _GPU_DEVICES.items()
        if getattr(options, name) and not any(os.path.exists(device) for device in devices)
    ]
    for name in ("no_oci", *missing):
        setattr(options, name, False)
    return [f"{options.given[name]}: this machine has no such GPU, so nothing is added" for name in missing]


def peer_words(options: Options) -> list[str]:
    """Return the words to pass to Apptainer or SingularityCE: the options of the command line, as given."""
    words: list[str] = []
    for row in (*shared_rows(options.command), *peer_rows(options.command)):
        value = getattr(options, row[0])
        if row[0] not in options.given:
            continue
        if row[2] is FLAG:
            words.append(long_word(row) + ("" if value else "=false"))
        else:
            words += [word for text in ([value] if row[2] is VALUE else value) for word in (long_word(row), text)]
    return words


def _words_of(texts: Iterable[str]) -> list[str]:
    """Return the words of a repeatable option, each use of which may have several words."""
    words: list[str] = []
    for text in texts:
        from sifmake.runtime.binds import fields

        words += [word for word in fields(text) if word]
    return words


def env_items(texts: Iterable[str]) -> list[str]:
    """Return the assignments of ``--env``: one with commas in its value, or several with commas between them.

    Raises:
        UsageError: A text is not an assignment.
    """
    items: list[str] = []
    for text in texts:
        from sifmake.runtime.binds import fields

        items += [text.strip('"')] if text.count("=") == 1 else fields(text)
        bad = next((item for item in items if "=" not in item), None)
        if bad is not None:
            from sifmake.errors import UsageError

            raise UsageError("not an assignment", where=bad, hint="write --env NAME=VALUE, or --env '\"A=1,2\",B=3'")
    return items


class _Assignments(dict[str, str]):
    """Variables from the start, plus a record of those assigned later."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(variables)
        self.assigned: set[str] = set()

    def __setitem__(self, name: str, value: str) -> None:
        """Assign a variable."""
        super().__setitem__(name, value)
        self.assigned.add(name)


def _env_files(paths: Iterable[str], options: Options, environ: Mapping[str, str]) -> list[str]:
    """Return the assignments in files; they can use the host's variables, and later files take precedence.

    Raises:
        UsageError: A file contains something other than assignments.
    """
    items: list[str] = []
    for path in paths:
        from sifmake.errors import UsageError
        from sifmake.runtime.environment import FIXED
        from sifmake.runtime.shell_subset import NeedsShell, UnbalancedError, source

        variables = _Assignments(environ)
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            try:
                source(file.read(), variables, set(), FIXED)
            except (NeedsShell, UnbalancedError) as error:
                raise UsageError(
                    f"not a list of assignments: {error}",
                    where=path,
                    hint=f"write NAME=VALUE lines ({options.given['env_file']})",
                ) from None
        items += [f"{name}={variables[name]}" for name in sorted(variables.assigned) if name in variables]
    return items
