"""``sifmake registry``: log in to and out of registries and list logins, with Apptainer's options."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from sifmake.cli.subcommands import add_action, examples
from sifmake.errors import UsageError
from sifmake.printing import print_json, print_lines

_HOST_HELP = "registry, for example docker://quay.io, or docker.io for Docker Hub"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = examples(
        "sifmake registry login --username me --password-stdin docker://ghcr.io < token.txt",
        "sifmake registry logout docker://ghcr.io",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    login = add_action(actions, "login", "check credentials with a registry and keep them")
    login.add_argument("host", metavar="REGISTRY", help=_HOST_HELP)
    login.add_argument("-u", "--username", metavar="NAME", help="user name (default: ask)")
    login.add_argument("-p", "--password", metavar="PASSWORD", help=argparse.SUPPRESS)
    login.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    login.add_argument("--no-https", action="store_true", help="use plain HTTP for the registry")
    logout = add_action(actions, "logout", "remove the credentials for a registry")
    logout.add_argument("host", metavar="REGISTRY", help=_HOST_HELP)
    listing = add_action(actions, "list", "list the registries with credentials")
    listing.add_argument("--json", action="store_true", help="print JSON")
    for action in (login, logout, listing):
        action.add_argument("--authfile", type=Path, metavar="FILE", help="the file with credentials")


def run(args: argparse.Namespace) -> int:
    """Run one subcommand; returns the exit status."""
    actions = {"login": _login, "logout": _logout, "list": _list}
    return actions[args.action](args)


def _login(args: argparse.Namespace) -> int:
    from sifmake.api.registries import host_of, login
    from sifmake.cli.console import Console

    host = host_of(args.host)
    _refuse_shown(args)
    username = args.username or _ask("Username: ")
    console = Console(quiet=args.quiet)
    password = _password(args)
    place = login(host, username, password, plain_http=args.no_https, auth_file=args.authfile, progress=console)
    console.info(f"logged in to {host} as {username}; saved in {place}")
    return 0


def _logout(args: argparse.Namespace) -> int:
    from sifmake.api.registries import host_of, logout
    from sifmake.cli.console import Console

    places = logout(args.host, auth_file=args.authfile)
    where = f"removed from {', '.join(places)}" if places else "no credentials found"
    Console(quiet=args.quiet).info(f"{host_of(args.host)}: {where}")
    return 0


def _list(args: argparse.Namespace) -> int:
    from sifmake.api.registries import logins
    from sifmake.cli.console import Console

    rows = logins(auth_file=args.authfile, progress=Console(quiet=args.quiet))
    if args.json:
        document = [{"registry": row.registry, "username": row.username, "origin": row.origin} for row in rows]
        print_json(document)
        return 0
    width = max((len(row.registry) for row in rows), default=0)
    print_lines(f"{row.registry:<{width}}  {row.username or '-'}  {row.origin}" for row in rows)
    return 0


def _refuse_shown(args: argparse.Namespace) -> None:
    """Refuse a password on the command line: every user can see it in the process list, and shells keep a history."""
    if args.password is not None:
        raise UsageError(
            "every user of this machine can see a password on the command line",
            hint=f"use --password-stdin: sifmake registry login --password-stdin {args.host} < FILE",
        )


def _password(args: argparse.Namespace) -> str:
    if args.password_stdin:
        password = _read_line().rstrip("\r\n")
    elif sys.stdin.isatty():
        from getpass import getpass

        try:
            password = getpass()
        except UnicodeDecodeError:
            hint = "use --password-stdin"
            raise UsageError(
                "the password has characters that the terminal does not pass on correctly", hint=hint
            ) from None
    else:
        raise UsageError("cannot ask for the password: no terminal", hint="use --password-stdin")
    if not password:
        raise UsageError("the password is empty")
    return password


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError("cannot ask for the user name: no terminal", hint="use --username")
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return _read_line().strip()


def _read_line() -> str:
    """Return the next line of standard input; bytes that are not valid text are kept."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    return sys.stdin.readline()
