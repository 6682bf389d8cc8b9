"""The program that runs a script as root, and keeps its changes until the caller has read them.

It is a separate interpreter, because the caller may have threads and must not enter namespaces. It reads the plan and
then one line per request from standard input; at the end of the input it stops. It writes the report to standard
output, the script's output to standard error, and the layer to one more descriptor.
"""

from __future__ import annotations

import os
import signal
import stat

from sifmake.rootless.changes import Unwanted
from sifmake.rootless.copying import copy_layers
from sifmake.rootless.layer import write_changes
from sifmake.rootless.mounts import Mounts
from sifmake.rootless.namespace import become_root, enter_namespaces
from sifmake.rootless.plan import LAYER, Report, failure, read_plan
from sifmake.rootless.removal import empty_folder
from sifmake.rootless.script import AFTER, BEFORE, LABELS, SCRIPT
from sifmake.rootless.snapshot import LARGEST
from sifmake.rootless.start import start_script
from sifmake.rootless.supervision import can_supervise
from sifmake.rootless.work_tree import WorkTree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from sifmake.rootless.changes import TreeChange
    from sifmake.rootless.plan import Plan
    from sifmake.rootless.start import Running

_LABELS_BYTES = 1 << 20


def keep() -> None:
    """Run one script according to the plan on standard input."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the caller gets them, and closes our input
    control = os.fdopen(0, "rb")
    plan = read_plan(control.readline())
    try:
        become_root(plan.users, plan.groups)
        sandboxes = plan.mode != "single" or can_supervise()
        enter_namespaces(network=plan.network)
        with _Keeper(plan, sandboxes=sandboxes) as keeper:
            _send_report(keeper.run())
            if control.readline() == LAYER:
                keeper.write_layer()
                _send_report(Report(0))
    except Exception as error:  # noqa: BLE001 - the caller would not learn why this process has ended
        _send_report(failure(error, f"{plan.place}/root"))
    finally:
        empty_folder(plan.place)


def _send_report(report: Report) -> None:
    data = report.encode()
    while data:
        data = data[os.write(1, data) :]


class _Keeper:
    """One run, from the tree to the layer."""

    def __init__(self, plan: Plan, *, sandboxes: bool) -> None:
        self._plan = plan
        self._sandboxes = sandboxes
        self._tree = WorkTree(plan)
        self._mounts = Mounts(self._tree.root, plan, sandboxes=sandboxes)
        self._root = os.open(self._tree.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._running: Running | None = None
        self._changes: Iterable[TreeChange] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)
        self._tree.close()

    def run(self) -> Report:
        """Run the script and return its report."""
        self._mounts.prepare()
        self._changes = self._tree.changes(Unwanted(self._mounts.made, self._plan.leave_out), self._find_owner)
        words = self._write_script()
        running = start_script(self._plan, words, self._tree, self._mounts, supervise=self._sandboxes)
        self._running = running
        report = running.wait(control=0)
        labels = self._take(LABELS, _LABELS_BYTES)
        state = self._take(AFTER, LARGEST)
        for name in (SCRIPT, BEFORE):
            self._take(name, 0)
        if report.status and self._plan.keep:
            copy_layers([self._tree.root], self._plan.keep)
        return report._replace(labels=labels or b"", snapshot=state or b"", reached_end=state is not None)

    def write_layer(self) -> None:
        """Write the script's changes."""
        with os.fdopen(self._plan.layer, "wb") as file:
            write_changes(self._changes, self._plan.epoch, file)

    def _find_owner(self, path: bytes) -> tuple[int, int] | None:
        """Return the owner that a script or the image gave to what has no attribute that says so."""
        given = self._running.owner_of(path, self._root) if self._running else None
        return given or self._tree.owner_below(path)

    def _write_script(self) -> list[str]:
        """Put the script where it runs; return the words that run it."""
        if self._plan.snapshot:
            _replace_file(self._tree.root + BEFORE, self._plan.snapshot, 0o644)
        if not self._plan.setup:
            _replace_file(self._tree.root + SCRIPT, self._plan.script, 0o755)
            return self._plan.words
        path = f"{self._plan.place}/script"
        _replace_file(path, self._plan.script, 0o755)
        return [path if word == SCRIPT else word for word in self._plan.words]

    def _take(self, name: str, most: int) -> bytes | None:
        """Read and remove a file at the top of the tree; None if it is not a regular file."""
        path = self._tree.root + name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        with os.fdopen(fd, "rb") as file:
            data = file.read(most)
        os.unlink(path)
        return data


def _replace_file(path: str, data: bytes, mode: int) -> None:
    """Write a file, replacing anything but a folder."""
    if os.path.lexists(path):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    os.chmod(path, mode)
