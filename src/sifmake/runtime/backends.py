"""What can run a program in a SIF file, and which of them does."""

from __future__ import annotations

import os

from sifmake.runtime.caller import given_environment
from sifmake.runtime.errors import RunError
from sifmake.runtime.rootfs import find_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from sifmake.runtime.request import Request

    class Backend(Protocol):
        """Something that can run a program in a SIF file."""

        name: str

        def is_there(self) -> bool:
            """Whether it is installed."""

        def run(self, request: Request) -> int:
            """Run a program and return its exit status; RunError if it cannot be started."""


class Peer:
    """Apptainer or SingularityCE: takes the place of this process."""

    def __init__(self, name: str) -> None:
        self.name = name

    def is_there(self) -> bool:
        """Whether it is on PATH."""
        return bool(find_program(self.name))

    def run(self, request: Request) -> int:
        """Execute it; only a failure returns."""
        program = find_program(self.name)
        if not program:
            raise RunError(
                f"{self.name} is not on PATH", hint=f"install the package {self.name}, or use --runtime builtin"
            )
        os.execve(program, [self.name, *peer_words(request)], given_environment(os.environ))


class BuiltIn:
    """Our own: bwrap makes the container, squashfuse or the kernel mounts the image."""

    name = "builtin"

    def is_there(self) -> bool:
        """It always is; what it needs is told when it lacks."""
        return True

    def run(self, request: Request) -> int:
        """Run a program and return its exit status."""
        if request.peer_options:
            raise RunError(
                f"{request.peer_options[0]} needs apptainer or singularity, and neither is on PATH or chosen",
                hint="install apptainer, or leave the option out",
            )
        from sifmake.runtime.image import check_machine, open_image
        from sifmake.runtime.supervisor import run_kept

        image = open_image(request.sif, request.fd)
        check_machine(request.sif, image)
        return run_kept(request, image)


def backends() -> tuple[Backend, ...]:
    """Return all back ends, the preferred first."""
    return (Peer("apptainer"), Peer("singularity"), BuiltIn())


def run_image(request: Request, runtime: str = "") -> int:
    """Run a program in a SIF file and return its exit status.

    Args:
        request: What to run, where.
        runtime: Name of the back end; empty for the first that is there.

    Raises:
        RunError: The program could not be started; the hint says what is missing.
    """
    for backend in backends():
        if backend.name == runtime or (not runtime and backend.is_there()):
            return backend.run(request)
    from sifmake.errors import UsageError

    names = ", ".join(backend.name for backend in backends())
    raise UsageError(f"there is no runtime {runtime}", hint=f"it is one of {names}")


def peer_words(request: Request) -> list[str]:
    """Return the command line for Apptainer or SingularityCE."""
    words = ["--silent"] if request.quiet else []
    words.append(request.action)
    words += [word for bind in request.binds for word in ("--bind", bind)]
    words += [word for item in request.env for word in ("--env", item)]
    flags = {
        "--cleanenv": request.cleanenv,
        "--contain": request.contain,
        "--pid": request.pid,
        "--ipc": request.pid,
        "--no-home": request.no_home,
        "--writable-tmpfs": request.writable_tmpfs,
        "--no-eval": request.no_eval,
        "--no-umask": request.no_umask,
    }
    words += [flag for flag, wanted in flags.items() if wanted]
    values = {"--home": request.home, "--pwd": request.cwd, "--shell": request.shell}
    words += [word for option, value in values.items() if value for word in (option, value)]
    return [*words, *request.peer_options, request.sif, *request.arguments]
