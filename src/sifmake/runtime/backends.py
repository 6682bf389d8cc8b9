"""The back ends that can run a program in a SIF file, and the choice between them."""

from __future__ import annotations

import os

from sifmake.runtime.caller import given_environment
from sifmake.runtime.errors import RunError
from sifmake.runtime.peers import find_peer
from sifmake.runtime.rootfs import programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from sifmake.runtime.request import Request

    class Backend(Protocol):
        """Runs a program in a SIF file."""

        name: str

        def is_there(self) -> bool:
            """Whether it is installed."""

        def run(self, request: Request) -> int:
            """Run a program and return its exit status; RunError if it cannot be started."""


class _Peer:
    """Apptainer or SingularityCE, which replaces this process."""

    def __init__(self, name: str) -> None:
        self.name = name

    def is_there(self) -> bool:
        """Whether it is on PATH and is not sifmake under that name."""
        return bool(find_peer(self.name))

    def run(self, request: Request) -> int:
        """Execute it; returns only if that fails."""
        program = find_peer(self.name)
        if not program:
            why = (
                f"what is on PATH as {self.name} is sifmake"
                if any(programs(self.name))
                else f"{self.name} is not on PATH"
            )
            raise RunError(why, hint=f"install the package {self.name}, or use --runtime builtin")
        environ, sif = given_environment(os.environ), request.sif
        if request.fd >= 0:
            from sifmake.runtime.peer import verified_path

            sif = verified_path(request, environ)
        quiet = ["--silent"] if request.quiet else []
        words = [self.name, *quiet, request.action, *request.peer_words, sif, *request.arguments]
        os.execve(program, words, environ)


class _BuiltIn:
    """The built-in back end: bwrap makes the container, squashfuse or the kernel mounts the image."""

    name = "builtin"

    def is_there(self) -> bool:
        """Always true; missing tools are reported when a program is run."""
        return True

    def run(self, request: Request) -> int:
        """Run a program and return its exit status."""
        from sifmake.runtime.image import check_machine, open_image
        from sifmake.runtime.supervisor import run_kept

        image = open_image(request.sif, request.fd)
        check_machine(request.sif, image)
        return run_kept(request, image)


def _backends() -> tuple[Backend, ...]:
    """Return all back ends, in order of preference."""
    return (_Peer("apptainer"), _Peer("singularity"), _BuiltIn())


def choose_runtime(runtime: str = "") -> Backend:
    """Return a back end.

    Args:
        runtime: Its name; empty for the first available one.

    Raises:
        UsageError: There is no back end with that name.
    """
    for backend in _backends():
        if backend.name == runtime or (not runtime and backend.is_there()):
            return backend
    from sifmake.errors import UsageError

    names = ", ".join(backend.name for backend in _backends())
    raise UsageError(f"there is no runtime {runtime}", hint=f"use one of {names}")
