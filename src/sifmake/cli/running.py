"""What ``run``, ``exec``, ``shell`` and ``test`` share: Apptainer's options, and an image that may be a URI."""

from __future__ import annotations

import os

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


def configure(parser: argparse.ArgumentParser, action: str) -> None:
    """Add the arguments of one of the actions."""
    import argparse

    parser.usage = WRAPPED[action]
    parser.add_argument("-B", "--bind", action="append", default=[], metavar="SRC[:DEST[:OPTS]]", help="mount a path")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE[,...]", help="set a variable")
    parser.add_argument("--env-file", metavar="FILE", help="set the variables that a file has, a line for each")
    parser.add_argument("-e", "--cleanenv", action="store_true", help="pass no variables of the host")
    parser.add_argument("-c", "--contain", action="store_true", help="empty home and /tmp, minimal /dev")
    parser.add_argument("-C", "--containall", action="store_true", help="also own processes and environment")
    parser.add_argument("--compat", action="store_true", help="as Docker: -C --writable-tmpfs --no-eval, umask 0022")
    parser.add_argument("--pwd", "--cwd", dest="cwd", default="", metavar="DIR", help="directory to start in")
    parser.add_argument("--pid", "-p", action="store_true", help="own processes")
    parser.add_argument("--writable-tmpfs", action="store_true", help="let the image be written to, for this run only")
    parser.add_argument("--no-home", action="store_true", help="do not mount the home directory")
    parser.add_argument("-H", "--home", default="", metavar="SRC[:DEST]", help="home directory instead of the user's")
    parser.add_argument("--no-eval", action="store_true", help="pass arguments and variables as they are")
    parser.add_argument("--runtime", choices=("apptainer", "singularity", "builtin"), help="what runs it")
    for name in PEER_FLAGS:
        parser.add_argument(f"--{name}", action="store_true", help="passed on to apptainer or singularity")
    parser.add_argument("--overlay", action="append", default=[], metavar="PATH", help="likewise")
    parser.add_argument("--offline", action="store_true", help="ask no registry; the image must be in the store")
    parser.add_argument("--no-https", action="store_true", help="speak plain http to the registry")
    parser.add_argument("--authfile", metavar="FILE", help="registry credentials in Docker's form")
    if action == "shell":
        parser.add_argument("-s", "--shell", default="", metavar="PATH", help="shell to run")
    parser.add_argument("image", metavar="SIF|URI", help="SIF file, or image as for pull")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="command or arguments")


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
    return run_image(request_of(args, action, sif), args.runtime or "")


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
    request.shell = getattr(args, "shell", "")
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
        args.env_file = args.env_file or environ.get(f"{prefix}ENV_FILE")


def split_variables(text: str) -> list[str]:
    """Split ``A=1,B=2`` where a comma begins another assignment; other commas belong to the value."""
    from sifmake.runtime.words import is_name

    items: list[str] = []
    for part in text.split(","):
        if items and not is_name(part.partition("=")[0]) or (items and "=" not in part):
            items[-1] += f",{part}"
        else:
            items.append(part)
    return items


def env_file(path: str | None) -> list[str]:
    """Read assignments, one a line; quotes around a value are taken off."""
    if not path:
        return []
    from sifmake.errors import UsageError
    from sifmake.runtime.words import NeedsShell, UnbalancedError, source

    variables: dict[str, str] = {}
    with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
        try:
            source(file.read(), variables, set(), frozenset())
        except (NeedsShell, UnbalancedError) as error:
            raise UsageError(f"not a list of assignments: {error}", where=path, hint="write NAME=VALUE lines") from None
    return [f"{name}={value}" for name, value in variables.items()]


def is_path(image: str) -> bool:
    """Whether an image is named by a path: it exists, or nothing in it looks like a transport."""
    return os.path.exists(image) or ":" not in image  # noqa: PTH110


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
        with open("config/config.yaml", "rb") as file:  # noqa: PTH123
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
