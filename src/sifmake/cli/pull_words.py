"""Options of ``apptainer pull`` and ``build`` that have no effect in sifmake, or that it handles in another way."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

_FOLDERS = ("APPTAINER_PULLDIR", "SINGULARITY_PULLDIR", "APPTAINER_PULLFOLDER", "SINGULARITY_PULLFOLDER")
_PLAIN_HTTP = ("APPTAINER_NOHTTPS", "SINGULARITY_NOHTTPS", "APPTAINER_NO_HTTPS", "SINGULARITY_NO_HTTPS")
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_registry_words(parser)
    group = parser.add_argument_group("options for compatibility with apptainer and singularity")
    unsigned = ("-U", "--allow-unsigned", "--allow-unauthenticated")
    group.add_argument(*unsigned, action="store_true", help="no effect: use `sifmake verify` to check signatures")
    group.add_argument("--tmpdir", metavar="DIR", help="no effect: temporary files are written beside the output file")
    group.add_argument("--no-cleanup", action="store_true", help="no effect: nothing is unpacked")
    group.add_argument("--library", metavar="URL", help="no effect: library:// is not supported")


def add_access_words(parser: argparse._ActionsContainer) -> None:
    """Add the options about access to a registry that all commands have."""
    parser.add_argument("--no-https", "--nohttps", action="store_true", help="use plain HTTP for the registry")
    parser.add_argument("--authfile", type=Path, metavar="FILE", help="registry credentials in Docker's format")


def add_registry_words(parser: argparse.ArgumentParser) -> None:
    """Add the options about registries and engines."""
    add_access_words(parser)
    group = parser.add_argument_group("registries")
    group.add_argument("--docker-login", action="store_true", help="ask for the user name and password of the registry")
    group.add_argument(
        "--docker-username", default="", metavar="NAME", help="user name for the registry, for this command only"
    )
    group.add_argument(
        "--docker-password",
        default="",
        metavar="TEXT",
        help="password for the registry; all users of this machine can see it",
    )
    group.add_argument("--docker-host", metavar="URL", help="not supported: set DOCKER_HOST to choose the engine")


def folder_of(environ: Mapping[str, str]) -> Path:
    """Return the folder that the peers' variables name for pulled files, or the current folder."""
    return Path(next((environ[name] for name in _FOLDERS if environ.get(name)), ""))


def is_plain_http(environ: Mapping[str, str]) -> bool:
    """Whether the peers' variables ask for plain HTTP."""
    return next((environ[name] for name in _PLAIN_HTTP if environ.get(name)), "") in _TRUE


def credentials_of(args: argparse.Namespace) -> tuple[str, str] | None:
    """Return the user name and password from the command line or the terminal; None if neither is asked for.

    Raises:
        UsageError: Only one of them is given, or there is no terminal to ask on.
    """
    if args.docker_host:
        raise UsageError("--docker-host is not supported", hint="set the variable DOCKER_HOST instead")
    if not (args.docker_login or args.docker_username or args.docker_password):
        return None
    if args.docker_login:
        return _asked(args.docker_username)
    username = args.docker_username or os.environ.get("APPTAINER_DOCKER_USERNAME", "")
    password = args.docker_password or os.environ.get("APPTAINER_DOCKER_PASSWORD", "")
    if not (username and password):
        missing = "--docker-password" if username else "--docker-username"
        raise UsageError(f"{missing} is missing", hint="give both, or use --docker-login")
    return username, password


def _asked(username: str) -> tuple[str, str]:
    from getpass import getpass

    if not sys.stdin.isatty():
        raise UsageError(
            "--docker-login: cannot ask for the password: no terminal",
            hint="run `sifmake registry login --password-stdin HOST` once",
        )
    if not username:
        sys.stderr.write("Enter Docker Username: ")
        sys.stderr.flush()
        username = sys.stdin.readline().strip()
    return username, getpass("Enter Docker Password: ")
