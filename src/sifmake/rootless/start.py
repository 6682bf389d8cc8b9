"""The first process of a process namespace, which starts the script and waits for it.

When the first process ends, the kernel kills all others, so nothing that a script leaves running outlives it. It ends
when the keeper does.
"""

from __future__ import annotations

import os
import resource
import select
import signal

from sifmake.rootless import kernel
from sifmake.rootless.namespace import DOCKER_CAPABILITIES
from sifmake.rootless.plan import Report, failure, read_report
from sifmake.rootless.seccomp import install_filter
from sifmake.rootless.supervision import Supervision
from sifmake.runtime.children import exit_status
from sifmake.runtime.system import mount, unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from sifmake.rootless.mounts import Mounts
    from sifmake.rootless.plan import Plan
    from sifmake.rootless.work_tree import WorkTree

_UMASK = 0o002
"""The PATH of the peers during a build."""
_OUTPUT = 2
_REPORT_BYTES = 1 << 16


class Running:
    """A script that was started."""

    def __init__(self, pid: int, report: int, supervision: Supervision | None) -> None:
        self._pid = pid
        self._report = report
        self._supervision = supervision

    def wait(self, control: int) -> Report:
        """Wait until the script and everything it started have ended; kill them when ``control`` reaches its end."""
        poll = select.poll()
        poll.register(control, select.POLLIN)
        poll.register(self._report, select.POLLIN)
        if self._supervision:
            self._supervision.begin(poll)
        try:
            self._wait(poll, control)
        finally:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            if self._supervision:
                self._supervision.end()
        said = os.read(self._report, _REPORT_BYTES)
        os.close(self._report)
        report = read_report(said) if said else Report(128 + signal.SIGKILL)
        return report._replace(faked=self._supervision.faked()) if self._supervision else report

    def _wait(self, poll: select.poll, control: int) -> None:
        while True:
            for fd, event in poll.poll():
                if fd in (self._report, control):
                    return
                if self._supervision:
                    self._supervision.handle(fd, event, poll)

    def owner_of(self, path: bytes, root: int) -> tuple[int, int] | None:
        """Return the owner that the script gave to a path below an open folder, if the file itself does not have it."""
        return self._supervision.owner_of(path, root) if self._supervision else None


def start_script(plan: Plan, words: Sequence[str], tree: WorkTree, mounts: Mounts, *, supervise: bool) -> Running:
    """Start a script in a process namespace of its own.

    Args:
        plan: What to run, and what it may do.
        words: Program and arguments.
        tree: The tree in which it runs.
        mounts: The mounts on the tree.
        supervise: Whether its calls can be answered, if the mode needs it.
    """
    report, report_end = os.pipe()
    alive, alive_end = os.pipe()
    supervision = Supervision(tree, possible=supervise) if plan.mode == "single" else None
    pid = os.fork()
    if pid == 0:
        os.close(alive_end)
        _be_first(_First(plan, words, tree.root, mounts, report_end, supervision), alive)
    os.close(report_end)
    os.close(alive)
    os.write(alive_end, b"x")
    os.close(alive_end)
    return Running(pid, report, supervision)


class _First:
    """Data for the first process."""

    def __init__(
        self,
        plan: Plan,
        words: Sequence[str],
        root: str,
        mounts: Mounts,
        report: int,
        supervision: Supervision | None,
    ) -> None:
        self.plan = plan
        self.words = words
        self.root = root
        self.mounts = mounts
        self.report = report
        self.supervision = supervision


def _be_first(first: _First, alive: int) -> NoReturn:
    """Be the first process; does not return."""
    report = Report(1, error=("the process that runs the script failed", "", "please report this"))
    try:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        if os.read(alive, 1):
            _keep_only(_OUTPUT, first.report, *(first.supervision.ends() if first.supervision else ()))
            _enter_tree(first)
            report = Report(_run(first))
    except Exception as error:  # noqa: BLE001 - the keeper would not learn why this process has ended
        report = failure(error, first.root)
    finally:
        os.write(first.report, report.encode())
        os._exit(0)


def _enter_tree(first: _First) -> None:
    # The keeper still sees the tree without these mounts.
    unshare(kernel.CLONE_NEWNS)
    if first.plan.setup:
        mount("proc", "/proc", "proc", 0)
        os.chdir(first.plan.folder)
        return
    first.mounts.mount_all()
    kernel.pivot_root(first.root)


def _run(first: _First) -> int:
    """Run the script; return its exit status."""
    failed, failed_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_script(first, failed_end)
    os.close(failed_end)
    problem = os.read(failed, 8)
    status = _reap(pid)
    if problem:
        raise OSError(int(problem), os.strerror(int(problem)), first.words[0])
    return status


def _reap(pid: int) -> int:
    """Wait for a child, and for all orphaned processes meanwhile."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            return exit_status(status)


def _be_script(first: _First, failed: int) -> NoReturn:
    """Become the script's shell; does not return."""
    try:
        os.setsid()
        os.umask(_UMASK)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.dup2(_OUTPUT, 1)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if not first.plan.privileged:
            kernel.drop_capabilities(DOCKER_CAPABILITIES)
        if first.supervision:
            first.supervision.submit(first.plan.mode)
        else:
            install_filter(first.plan.mode, spaces=first.plan.mode != "root" or first.plan.privileged)
        os.execve(first.words[0], list(first.words), first.plan.environment)
    except OSError as error:
        os.write(failed, b"%d" % (error.errno or 0))
    finally:
        os._exit(127)


def _keep_only(*fds: int) -> None:
    """Close all file descriptors except these, and connect standard input and output to nothing."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in fds:
            try:  # noqa: SIM105 - importing contextlib takes 3 ms
                os.close(fd)
            except OSError:  # the descriptor used to list them
                pass
    os.dup(os.open(os.devnull, os.O_RDWR))
