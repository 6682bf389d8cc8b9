"""The foreground part of ``sifmake exec``: starts the keeper, passes signals on, returns the exit status."""

from __future__ import annotations

import os

from sifmake.runtime import system
from sifmake.runtime.children import end_all, exit_status
from sifmake.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from sifmake.runtime.image import Partition
    from sifmake.runtime.request import Request
else:
    import _signal as signal  # without the enums of the module signal, whose import costs 5 ms

PASSED_ON = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
)
SI_KERNEL = 0x80
FAILED = 250
"""Exit status by which the keeper says that its report has an error."""


def run_kept(request: Request, partition: Partition) -> int:
    """Run a program under a keeper and return its exit status.

    Raises:
        RunError: It could not be started.
    """
    system.become_subreaper()
    ignored = frozenset(int(n) for n in PASSED_ON if signal.getsignal(n) is signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD})
    lifeline, alive = os.pipe()
    report, report_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(alive)
        os.close(report)
        keep(request, partition, lifeline, report_end, ignored)
    os.close(lifeline)
    os.close(report_end)
    status = wait_for(pid, alive)
    error = os.read(report, 65536)
    end_all()
    if error:
        what, where, hint = error.decode("utf-8", "surrogateescape").split("\0")
        raise RunError(what, where=where, hint=hint)
    return status


def keep(request: Request, partition: Partition, lifeline: int, report: int, ignored: frozenset[int]) -> None:
    """Be the keeper; does not return."""
    from sifmake.errors import SifmakeError
    from sifmake.runtime.keeper import Keeper, quiet_signals

    status = FAILED
    try:
        quiet_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        system.become_subreaper()
        status = Keeper(request, partition, lifeline, ignored).run()
    except SifmakeError as error:
        tell(report, error.what, error.where, error.hint)
    except OSError as error:
        tell(report, str(error), "", "")
    except BaseException as error:  # noqa: BLE001 - a second process must not go on in the caller's code
        tell(report, f"{type(error).__name__}: {error}", "", "please report this")
    finally:
        os._exit(status)


def tell(report: int, *parts: str) -> None:
    """Write an error for the process in the foreground."""
    os.write(report, "\0".join(part.replace("\0", " ") for part in parts).encode("utf-8", "surrogateescape")[:60000])


def wait_for(keeper: int, alive: int) -> int:
    """Wait for the keeper's end; signals that come meanwhile go to it through the pipe."""
    while True:
        got = signal.sigwaitinfo({*PASSED_ON, signal.SIGCHLD})
        if got.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(keeper, os.WNOHANG)
            if pid:
                return exit_status(status)
            continue
        from_terminal = 0x80 if got.si_code == SI_KERNEL else 0
        os.write(alive, bytes([got.si_signo | from_terminal]))
