"""The words of ``apptainer pull`` and ``build`` that have nothing to do here, or are done otherwise."""

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
    group = parser.add_argument_group("options that apptainer and singularity have too")
    group.add_argument("--docker-login", action="store_true", help="ask for user and password of the registry")
    group.add_argument("--docker-username", default="", metavar="NAME", help="user of the registry, for this command")
    group.add_argument("--docker-password", default="", metavar="TEXT", help="its password; all users here can see it")
    unsigned = ("-U", "--allow-unsigned", "--allow-unauthenticated")
    group.add_argument(*unsigned, action="store_true", help="no effect: `sifmake verify` looks at signatures")
    group.add_argument("--tmpdir", metavar="DIR", help="no effect: temporary files are beside the output file")
    group.add_argument("--no-cleanup", action="store_true", help="no effect: nothing is unpacked")
    group.add_argument("--library", metavar="URL", help="no effect: library:// images are not fetched")
    group.add_argument("--docker-host", metavar="URL", help="refused; DOCKER_HOST names the engine")


def folder_of(environ: Mapping[str, str]) -> Path:
    """Return the folder that the variables of the peers name for what is pulled; else the current one."""
    return Path(next((environ[name] for name in _FOLDERS if environ.get(name)), ""))


def is_plain_http(environ: Mapping[str, str]) -> bool:
    """Whether the variables of the peers ask for plain http."""
    return next((environ[name] for name in _PLAIN_HTTP if environ.get(name)), "") in _TRUE


def credentials_of(args: argparse.Namespace) -> tuple[str, str] | None:
    """Return the user and password that the command line says, or a person types; None if it says none.

    Raises:
        UsageError: One is there without the other, or there is nobody to ask.
    """
    if args.docker_host:
        raise UsageError("--docker-host is not done here", hint="set the variable DOCKER_HOST to it")
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
            "--docker-login: there is no terminal to ask",
            hint="run `sifmake registry login --password-stdin HOST` once",
        )
    if not username:
        sys.stderr.write("Enter Docker Username: ")
        sys.stderr.flush()
        username = sys.stdin.readline().strip()
    return username, getpass("Enter Docker Password: ")
