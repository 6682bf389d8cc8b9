"""``sifmake registry``: log in to and out of registries, list them; with Apptainer's words."""

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
    login = add_action(actions, "login", "keep credentials for a registry after trying them")
    login.add_argument("host", metavar="REGISTRY", help=_HOST_HELP)
    login.add_argument("-u", "--username", metavar="NAME", help="user; asked for otherwise")
    login.add_argument("-p", "--password", metavar="PASSWORD", help=argparse.SUPPRESS)
    login.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    login.add_argument("--no-https", action="store_true", help="speak plain http to the registry")
    logout = add_action(actions, "logout", "forget the credentials for a registry")
    logout.add_argument("host", metavar="REGISTRY", help=_HOST_HELP)
    listing = add_action(actions, "list", "list the registries with credentials")
    listing.add_argument("--json", action="store_true", help="print JSON")
    for action in (login, logout, listing):
        action.add_argument("--authfile", type=Path, metavar="FILE", help="the file with credentials")


def run(args: argparse.Namespace) -> int:
    """Do what the subcommand says."""
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
    console.info(f"logged in to {host} as {username}; kept in {place}")
    return 0


def _logout(args: argparse.Namespace) -> int:
    from sifmake.api.registries import host_of, logout
    from sifmake.cli.console import Console

    places = logout(args.host, auth_file=args.authfile)
    where = f"forgotten in {', '.join(places)}" if places else "there were no credentials"
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
    """Refuse a password among the arguments: the list of processes shows them to everyone, and shells keep them."""
    if args.password is not None:
        raise UsageError(
            "a password on the command line is shown to everyone on this machine",
            hint=f"give it with --password-stdin: sifmake registry login --password-stdin {args.host} < FILE",
        )


def _password(args: argparse.Namespace) -> str:
    if args.password_stdin:
        password = _read_line().rstrip("\r\n")
    elif sys.stdin.isatty():
        from getpass import getpass

        try:
            password = getpass()
        except UnicodeDecodeError:
            hint = "give it with --password-stdin"
            raise UsageError("the password has characters that the terminal does not say rightly", hint=hint) from None
    else:
        raise UsageError("there is no terminal to ask for the password", hint="give it with --password-stdin")
    if not password:
        raise UsageError("the password is empty")
    return password


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for the user", hint="give it with --username")
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return _read_line().strip()


def _read_line() -> str:
    """Return the next line of standard input; bytes that are no characters are kept."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    return sys.stdin.readline()
