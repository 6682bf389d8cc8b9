"""The foreground process of ``sifmake exec``: starts the keeper, passes signals on, returns the exit status."""

from __future__ import annotations

import os

from sifmake.runtime import system
from sifmake.runtime.caller import Caller
from sifmake.runtime.children import QUIETED, end_all, exit_status, send
from sifmake.runtime.errors import RunError
from sifmake.runtime.image_mount import ImageMount
from sifmake.runtime.rootfs import find_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from sifmake.runtime.image import OpenImage
    from sifmake.runtime.request import Request
else:
    import _signal as signal  # without the enums of the module signal, whose import costs 5 ms

_SI_KERNEL = 0x80
"""The value of si_code for a signal from the kernel, such as one that the terminal sent."""
_BLOCKED = {*QUIETED, signal.SIGCHLD, *range(signal.SIGRTMIN, signal.SIGRTMIN + 16)}
_FAILED = 250
"""Exit status of the keeper if its report has an error."""


class Run:
    """One run of a program; shared by the foreground process and the keeper.

    Attributes:
        request: The request.
        tree: The image's files.
        bwrap: Path of bwrap.
        parent: Process id of the foreground process.
        ignored: Signals that the program must ignore, as its caller does.
    """

    def __init__(self, request: Request, tree: ImageMount, bwrap: str, ignored: frozenset[int]) -> None:
        self.request = request
        self.tree = tree
        self.bwrap = bwrap
        self.parent = os.getpid()
        self.ignored = ignored


def run_kept(request: Request, image: OpenImage) -> int:
    """Run a program under a keeper and return its exit status.

    Raises:
        RunError: The program could not be started.
    """
    bwrap = find_program("bwrap")
    if not bwrap:
        raise RunError(
            "neither apptainer nor singularity nor bwrap is on PATH",
            hint="install the package bubblewrap (or apptainer)",
        )
    system.become_subreaper()
    ignored = frozenset(int(n) for n in QUIETED if signal.getsignal(n) is signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    tree = ImageMount(request, image, Caller(request.home))
    try:
        tree.enter(bwrap)
        tree.begin()
        status, error = _run_keeper(Run(request, tree, bwrap, ignored))
    finally:
        end_all(tree.helpers() | ({request.finisher.pid} if request.finisher else set()))
        tree.end()
    if error:
        what, where, hint = error.decode("utf-8", "surrogateescape").split("\0")
        raise RunError(what, where=where, hint=hint)
    return status


def _run_keeper(run: Run) -> tuple[int, bytes]:
    """Run a program under a keeper and return its exit status and the keeper's error."""
    report, report_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(report)
        _keep(run, report_end)
    os.close(report_end)
    run.tree.warm()
    status = _wait_for(pid)
    return status, os.read(report, 65536)


def _keep(run: Run, report: int) -> None:
    """Act as the keeper; does not return."""
    from sifmake.errors import NO_MEMORY, SifmakeError, describe_os_error
    from sifmake.runtime.keeper import Keeper, prepare_signals

    status = _FAILED
    try:
        prepare_signals()
        system.become_subreaper()
        status = Keeper(run).run()
    except SifmakeError as error:
        _report_error(report, error.what, error.where, error.hint)
    except OSError as error:
        _report_error(report, describe_os_error(error), "", "")
    except MemoryError:
        _report_error(report, NO_MEMORY, "", "")
    except BaseException as error:  # noqa: BLE001 - the forked process must not continue in the caller's code
        _report_error(report, f"{type(error).__name__}: {error}", "", "please report this")
    finally:
        os._exit(status)


def _report_error(report: int, *parts: str) -> None:
    """Send an error to the foreground process."""
    os.write(report, "\0".join(part.replace("\0", " ") for part in parts).encode("utf-8", "surrogateescape")[:60000])


def _wait_for(keeper: int) -> int:
    """Wait until the keeper ends; pass signals to it, except those that the terminal has sent to all processes."""
    while True:
        got = signal.sigwaitinfo({*QUIETED, signal.SIGCHLD})
        if got.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(keeper, os.WNOHANG)
            if pid:
                return exit_status(status)
        elif got.si_code != _SI_KERNEL:
            send(keeper, signal.SIGRTMIN + got.si_signo)
