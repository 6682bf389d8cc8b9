"""What ``run``, ``exec``, ``shell`` and ``test`` share: Apptainer's options, and an image that may be a URI."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from sifmake.runtime.request import Request

WRAPPED = {
    "exec": "sifmake exec [options] SIF|URI COMMAND [ARGUMENT...]",
    "run": "sifmake run [options] SIF|URI [ARGUMENT...]",
    "shell": "sifmake shell [options] SIF|URI",
    "test": "sifmake test [options] SIF|URI [ARGUMENT...]",
}
FLAGS = {
    "cleanenv": (("-e", "--cleanenv"), "pass no variables of the host"),
    "contain": (("-c", "--contain"), "empty home and /tmp, minimal /dev"),
    "containall": (("-C", "--containall"), "also own processes and environment"),
    "compat": (("--compat",), "as Docker: -C --writable-tmpfs --no-eval, umask 0022"),
    "pid": (("-p", "--pid"), "own processes"),
    "writable_tmpfs": (("--writable-tmpfs",), "let the image be written to, for this run only"),
    "no_home": (("--no-home",), "do not mount the home directory"),
    "no_eval": (("--no-eval",), "pass arguments and variables as they are"),
    "nv": (("--nv",), "passed on to apptainer or singularity"),
    "rocm": (("--rocm",), "likewise"),
    "fakeroot": (("-f", "--fakeroot"), "likewise"),
    "offline": (("--offline",), "ask no registry; the image must be in the store"),
    "no_https": (("--no-https",), "speak plain http to the registry"),
}
LISTS = {
    "bind": (("-B", "--bind"), "SRC[:DEST[:OPTS]]", "mount a path of the host"),
    "env": (("--env",), "NAME=VALUE[,...]", "set a variable"),
    "overlay": (("--overlay",), "PATH", "passed on to apptainer or singularity"),
}
VALUES = {
    "env_file": (("--env-file",), "FILE", "set the variables that a file has, a line for each"),
    "cwd": (("--pwd", "--cwd"), "DIR", "directory to start in"),
    "home": (("-H", "--home"), "SRC[:DEST]", "home directory instead of the user's"),
    "runtime": (("--runtime",), "apptainer|singularity|builtin", "what runs it"),
    "authfile": (("--authfile",), "FILE", "registry credentials in Docker's form"),
}
SHELL_VALUE = {"shell": (("-s", "--shell"), "PATH", "shell to run")}
"""The options, by the attribute that they set: words, what follows them, help."""
PEER_FLAGS = ("nv", "rocm", "fakeroot")
VARIABLES = ("SINGULARITY_", "APPTAINER_")
"""Prefixes of variables that stand for options; the second tool's win."""
SIGNATURE_WORD = b"signature"
"""Only where it stands in the configuration is that read as YAML, which takes a while."""
FLAG_VARIABLES = {
    "CLEANENV": "cleanenv",
    "CONTAIN": "contain",
    "CONTAINALL": "containall",
    "COMPAT": "compat",
    "NO_EVAL": "no_eval",
    "NO_HOME": "no_home",
    "WRITABLE_TMPFS": "writable_tmpfs",
    "NV": "nv",
    "ROCM": "rocm",
}


class Options:
    """Parsed options; has the attributes of argparse's Namespace."""

    def __init__(self, action: str) -> None:
        values = {"command": action, "quiet": False, "debug": False, "image": "", "arguments": [], "shell": ""}
        self.__dict__.update(values)
        self.__dict__.update(dict.fromkeys(FLAGS, False))
        self.__dict__.update({name: [] for name in LISTS})
        self.__dict__.update(dict.fromkeys(VALUES, ""))


def configure(parser: argparse.ArgumentParser, action: str) -> None:
    """Add the arguments of one of the actions."""
    import argparse

    parser.usage = WRAPPED[action]
    for name, (words, text) in FLAGS.items():
        parser.add_argument(*words, dest=name, action="store_true", help=text)
    for name, (words, shown, text) in LISTS.items():
        parser.add_argument(*words, dest=name, action="append", default=[], metavar=shown, help=text)
    for name, (words, shown, text) in values_of(action).items():
        parser.add_argument(*words, dest=name, default="", metavar=shown, help=text)
    parser.add_argument("image", metavar="SIF|URI", help="SIF file, or image as for pull")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="command or arguments")


def values_of(action: str) -> dict[str, tuple[tuple[str, ...], str, str]]:
    """Return the options of an action that have a value."""
    return VALUES | SHELL_VALUE if action == "shell" else VALUES


def parse_plain(words: list[str]) -> argparse.Namespace | None:
    """Parse a command line in which every option is written in full; None if argparse has to look at it.

    Args:
        words: The action, options, the image and its arguments.
    """
    options = Options(words[0])
    known = {
        word: name
        for table in (FLAGS, LISTS, values_of(words[0]))
        for name, entry in table.items()
        for word in entry[0]
    }
    known |= {"-q": "quiet", "--quiet": "quiet", "--debug": "debug"}
    at = 1
    while at < len(words) and words[at].startswith("-"):
        word, equals, value = words[at].partition("=") if words[at].startswith("--") else (words[at], "", "")
        name = known.get(word)
        if name is None:
            return None
        if name in LISTS or name in VALUES or name in SHELL_VALUE:
            if not equals:
                at += 1
                value = words[at] if at < len(words) else "-"
                if value.startswith("-"):
                    return None
            setattr(options, name, [*getattr(options, name), value] if name in LISTS else value)
        elif equals:
            return None
        else:
            setattr(options, name, True)
        at += 1
    if at >= len(words):
        return None
    options.__dict__.update(image=words[at], arguments=words[at + 1 :])
    return options  # type: ignore[return-value]  # it has all attributes that are asked for


def run(args: argparse.Namespace, action: str) -> int:
    """Run a program and return its exit status."""
    from sifmake.runtime import run_image

    occupy_standard_files()
    if action == "exec" and not args.arguments:
        from sifmake.errors import UsageError

        raise UsageError("no command is given", hint=WRAPPED["exec"])
    read_variables(args, os.environ)
    sif = args.image if is_path(args.image) else stored_sif(args)
    sif = os.path.abspath(sif)
    check_signature(sif)
    return leave(run_image(request_of(args, action, sif), args.runtime))


def leave(status: int) -> int:
    """End the process at once: there is nothing left to do, and Python's own way out takes 5 ms."""
    for file in (sys.stdout, sys.stderr):
        if file is not None:
            file.flush()
    os._exit(status)


def request_of(args: argparse.Namespace, action: str, sif: str) -> Request:
    """Return the request that the options make."""
    from sifmake.runtime.request import Request

    request = Request(action, sif, args.arguments)
    request.binds = [item for text in args.bind for item in text.split(",") if item]
    request.env = [*env_file(args.env_file), *(item for text in args.env for item in split_variables(text))]
    request.cleanenv = args.cleanenv or args.containall or args.compat
    request.contain = args.contain or args.containall or args.compat
    request.pid = args.pid or args.containall or args.compat
    request.no_home = args.no_home
    request.home = args.home
    request.cwd = args.cwd
    request.writable_tmpfs = args.writable_tmpfs or args.compat
    request.no_eval = args.no_eval or args.compat
    request.no_umask = args.compat
    request.shell = args.shell if action == "shell" else ""
    request.quiet = args.quiet
    request.peer_options = [f"--{name}" for name in PEER_FLAGS if getattr(args, name)]
    request.peer_options += [word for path in args.overlay for word in ("--overlay", path)]
    return request


def read_variables(args: argparse.Namespace, environ: Mapping[str, str]) -> None:
    """Let ``APPTAINER_BIND`` and its like stand for options that are not given."""
    for prefix in VARIABLES:
        bind = environ.get(f"{prefix}BINDPATH", "") or environ.get(f"{prefix}BIND", "")
        if bind:
            args.bind = [bind, *args.bind]
        for name, option in FLAG_VARIABLES.items():
            if environ.get(prefix + name, "").lower() in ("1", "true", "yes"):
                setattr(args, option, True)
        args.cwd = args.cwd or environ.get(f"{prefix}PWD", "") or environ.get(f"{prefix}CWD", "")
        args.home = args.home or environ.get(f"{prefix}HOME", "")
        args.env_file = args.env_file or environ.get(f"{prefix}ENV_FILE", "")


def split_variables(text: str) -> list[str]:
    """Split ``A=1,B=2`` where a comma begins another assignment; other commas belong to the value."""
    from sifmake.runtime.words import is_name

    items: list[str] = []
    for part in text.split(","):
        if items and ("=" not in part or not is_name(part.partition("=")[0])):
            items[-1] += f",{part}"
        else:
            items.append(part)
    return items


def env_file(path: str) -> list[str]:
    """Read assignments, one a line; quotes around a value are taken off."""
    if not path:
        return []
    from sifmake.errors import UsageError
    from sifmake.runtime.words import NeedsShell, UnbalancedError, source

    variables: dict[str, str] = {}
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        try:
            source(file.read(), variables, set(), frozenset())
        except (NeedsShell, UnbalancedError) as error:
            raise UsageError(f"not a list of assignments: {error}", where=path, hint="write NAME=VALUE lines") from None
    return [f"{name}={value}" for name, value in variables.items()]


def is_path(image: str) -> bool:
    """Whether an image is named by a path: it exists, or nothing in it looks like a transport."""
    return os.path.exists(image) or ":" not in image


def occupy_standard_files() -> None:
    """Open /dev/null where standard input, output or error are closed, so that no other file takes their place."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)


def stored_sif(args: argparse.Namespace) -> str:
    """Return the SIF file in the store that an image's URI comes to, made now if it is not there."""
    from pathlib import Path

    from sifmake.cli.console import Console
    from sifmake.pipeline.stored_sif import Wanted, find_or_build

    console = Console(quiet=args.quiet)
    auth_file = Path(args.authfile) if args.authfile else None
    try:
        return str(find_or_build(Wanted(args.image, args.offline, args.no_https, auth_file), console))
    finally:
        console.close()


def check_signature(sif: str) -> None:
    """Refuse a SIF that does not verify where the configuration asks for signatures.

    Raises:
        SigningError: It does not verify, or there are no keys to verify it with.
        ConfigError: The configuration cannot be read.
    """
    try:
        with open("config/config.yaml", "rb") as file:
            if SIGNATURE_WORD not in file.read():
                return
    except FileNotFoundError:
        return
    from pathlib import Path

    from sifmake.errors import SigningError
    from sifmake.pipeline.keys import load_project_trust
    from sifmake.pipeline.project import Project
    from sifmake.signing import verify_file

    configuration = Project(Path.cwd()).configuration
    if not configuration.require_signature:
        return
    found = verify_file(Path(sif), load_project_trust(configuration))
    if found.exit_code:
        raise SigningError(
            f"is not run, for it does not verify: {'; '.join(found.reasons)}",
            where=sif,
            hint="require-signature stands in config/config.yaml; sifmake sign signs it, trusted-keys names who may",
        )
