"""Shared by ``run``, ``exec``, ``shell`` and ``test``: find the image (a file or a URI), verify it, run the program."""

from __future__ import annotations

import os
import sys

from sifmake.cli.running_image import opened_image
from sifmake.cli.running_parse import WRAPPED, Options, configure, parse_plain, read_variables
from sifmake.errors import SifmakeError
from sifmake.runtime import choose_runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from sifmake.runtime.backends import Backend
    from sifmake.runtime.request import Request

__all__ = ["configure", "parse_plain", "run"]


def run(args: argparse.Namespace, action: str) -> int:
    """Run a program and return its exit status."""
    _occupy_standard_files()
    if action == "exec" and not args.arguments:
        from sifmake.errors import UsageError

        raise UsageError("the command is missing", hint=WRAPPED["exec"])
    options = args if isinstance(args, Options) else _adopted(args)
    backend = choose_runtime(options.runtime)
    try:
        request = (_builtin_request if backend.name == "builtin" else _peer_request)(options)
        return _leave(_run_to_end(backend, request))
    except (OSError, SifmakeError) as error:
        from sifmake.cli.typed_paths import name_as_typed

        name_as_typed(error, options.image, getattr(options, "workdir", ""))
        raise


def _run_to_end(backend: Backend, request: Request) -> int:
    """Run a program and return its exit status, when its image is finished too."""
    try:
        return backend.run(request)
    finally:
        if request.finisher is not None and (told := request.finisher.wait()):
            from sifmake.printing import write_note

            write_note(sys.stderr, told)


def _builtin_request(options: Options) -> Request:
    """Return the request for the built-in back end."""
    from sifmake.cli.running_request import leave_out_idle, request_of

    read_variables(options, os.environ)
    for text in leave_out_idle(options):
        _warn(options, text)
    request = request_of(options, os.environ)
    request.sif, request.fd, request.finisher = opened_image(options)
    if options.command == "shell" and request.arguments:
        _warn(options, "arguments after the image are ignored; use `sifmake exec` to run a command")
        request.arguments = []
    return request


def _peer_request(options: Options) -> Request:
    """Return the request for a peer, which reads the environment variables of its options itself."""
    from sifmake.cli.running_options import OWN
    from sifmake.cli.running_request import peer_words
    from sifmake.runtime.request import Request

    read_variables(options, os.environ, OWN)
    sif, fd, _ = opened_image(options, by_path=True)
    request = Request(options.command, sif, fd, options.arguments)
    request.peer_words = peer_words(options)
    request.quiet = options.quiet
    return request


def _adopted(args: argparse.Namespace) -> Options:
    """Return the options that argparse parsed, as our own type."""
    options = Options(args.command)
    options.__dict__.update(vars(args))
    options.given = {name: f"--{name.replace('_', '-')}" for name, value in vars(args).items() if value}
    return options


def _warn(options: Options, text: str) -> None:
    """Print a warning to standard error, unless the user wants none."""
    if not options.quiet:
        from sifmake.printing import print_error

        print_error(f"sifmake: warning: {text}")


def _leave(status: int) -> int:
    """Exit at once: nothing is left to do, and a normal exit of Python takes 5 ms."""
    for file in (sys.stdout, sys.stderr):
        if file is not None:
            file.flush()
    os._exit(status)


def _occupy_standard_files() -> None:
    """Open /dev/null for closed standard files, so that no other file gets their descriptors."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)
