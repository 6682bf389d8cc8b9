"""Run a script as root: the caller's side."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.layers.tar_writer import tar_stream
from sifmake.rootless.ids import mapped_words
from sifmake.rootless.keeper_process import KeeperProcess
from sifmake.rootless.place import new_place
from sifmake.rootless.plan import Plan
from sifmake.rootless.script import TraceReader, is_shell, line_of, with_marks
from sifmake.rootless.snapshot import read_state
from sifmake.rootless.unpacking import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.layers.entry import Entry
    from sifmake.rootless.plan import Report
    from sifmake.rootless.request import PostRequest

_FEW_BYTES, _FEW_FILES = 1 << 20, 16


class PostResult:
    """The result of a script.

    Attributes:
        status: Exit status, as a shell reports it.
        line: Line of the script that ran last, from 1; 0 if it is unknown.
        command: Its words, as the shell traced them.
        labels: The content of /.build.labels.
        snapshot: State of its shell at the end, for the next piece; empty unless asked for and reached.
        reached_end: Whether it ran to its end and did not leave before; always true if no snapshot was asked for.
        faked: What the layer cannot store.
        kept: Folder with the tree of a script that failed, if it was to stay.
        full: Whether it failed and the disk is full.
    """

    def __init__(
        self, request: PostRequest, report: Report, trace: TraceReader, keeper: KeeperProcess, kept: Path | None
    ) -> None:
        self.status = report.status
        self.line = line_of(request.script, trace)
        self.command = os.fsdecode(trace.command)
        self.labels = report.labels
        self.reached_end = report.reached_end or not request.carry
        self.faked = tuple(report.faked)
        self.snapshot = b""
        if request.carry and report.reached_end:
            self.snapshot = read_state(report.snapshot, request.environment)
        self.kept = kept
        self.full = bool(report.status) and _is_full(request.scratch)
        self._keeper = keeper

    def changes(self) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        """Yield the changes in the tree, in order, with the content of files; can be called once.

        Read the content of an entry before taking the next one.

        Raises:
            RootlessError: A file in the tree cannot be stored in a layer.
        """
        return self._keeper.changes()

    def layer(self) -> Iterator[bytes]:
        """Yield the changes as the layer's tar stream; can be called once.

        Raises:
            RootlessError: A file in the tree cannot be stored in a layer.
        """
        return tar_stream(self.changes())


@contextmanager
def run_post(request: PostRequest) -> Iterator[PostResult]:
    """Run a script to its end; its changes can be read inside the block.

    Raises:
        RootlessError: It could not be run. If it ran and failed, only its status says so.
        OSError: No folder or process could be created for it.
    """
    with new_place(request.scratch, request.mode) as place, KeeperProcess(place.lock) as keeper:
        kept = Path(tempfile.mkdtemp(prefix="failed-", dir=request.scratch)) if request.keep else None
        trace = TraceReader(request.output)
        try:
            report = keeper.run(_plan(request, place.path, keeper.layer_end, kept), trace)
        except BaseException:
            _drop(kept, request)
            raise
        if not report.status:
            _drop(kept, request)
            kept = None
        yield PostResult(request, report, trace, keeper, kept)


def _drop(kept: Path | None, request: PostRequest) -> None:
    """Remove the folder for the tree of a script that did not fail."""
    if kept:
        remove_tree(kept, request.mode)


def _plan(request: PostRequest, place: Path, layer: int, kept: Path | None) -> Plan:
    """Return the plan for the keeper."""
    users, groups = mapped_words(request.mode.value)
    environment = dict(request.environment)
    if request.setup:
        environment |= dict.fromkeys(("APPTAINER_ROOTFS", "SINGULARITY_ROOTFS"), f"{place}/root")
    shell = is_shell(request.words)
    return Plan(
        mode=request.mode.value,
        users=users,
        groups=groups,
        lowers=[str(lower.absolute()) for lower in request.lowers],
        place=str(place.absolute()),
        script=with_marks(
            request.script, request.words, restore=bool(request.snapshot), carry=request.carry, asked=request.asked
        ),
        words=list(request.words),
        environment=environment,
        binds=[(str(bind.source.absolute()), bind.target, bind.read_only) for bind in request.binds],
        network=request.network,
        secrets=dict(request.secrets),
        epoch=request.epoch,
        snapshot=request.snapshot if shell else b"",
        privileged=request.privileged,
        leave_out=list(request.leave_out),
        setup=request.setup,
        copy=request.copy,
        keep=str(kept.absolute()) if kept else "",
        layer=layer,
        folder=str(Path.cwd()),
    )


def _is_full(folder: Path) -> bool:
    """Whether the disk of a folder is almost full, in bytes or in files."""
    system = os.statvfs(folder)
    few_files = bool(system.f_files) and system.f_favail < _FEW_FILES
    return few_files or system.f_bavail * system.f_frsize < _FEW_BYTES
