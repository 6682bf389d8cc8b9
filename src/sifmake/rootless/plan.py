"""The messages between caller and keeper, which is another program: one line of JSON each way."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from sifmake.errors import SifmakeError

LAYER = b"layer\n"
"""The caller's request for the layer."""


class Plan(NamedTuple):
    """Everything that the keeper needs to know.

    Attributes:
        mode: Value of :class:`~sifmake.rootless.request.Mode`.
        users: Ranges of user ids for newuidmap, as texts; empty if there is no user namespace.
        groups: Likewise of group ids.
        lowers: Folders with trees, highest first.
        place: Folder of this run, empty.
        script: Text of the script.
        words: Program and arguments.
        environment: Variables.
        binds: Source, target, and whether it is read-only.
        network: Whether the network is the host's.
        secrets: Names and bytes.
        epoch: Latest time in the layer, or None.
        snapshot: Text that restores the state of the shell.
        privileged: Whether all capabilities are kept.
        leave_out: Patterns of paths that do not go into the layer.
        setup: Whether the script sees the host.
        copy: Whether to copy the tree.
        keep: Folder for the tree of a script that fails; empty if it is not to stay.
        layer: File descriptor that the layer is written to.
        folder: Current folder of a script that sees the host.
    """

    mode: str
    users: list[list[str]]
    groups: list[list[str]]
    lowers: list[str]
    place: str
    script: bytes
    words: list[str]
    environment: dict[str, str]
    binds: list[tuple[str, str, bool]]
    network: bool
    secrets: dict[str, bytes]
    epoch: int | None
    snapshot: bytes
    privileged: bool
    leave_out: list[str]
    setup: bool
    copy: bool
    keep: str
    layer: int
    folder: str

    def encode(self) -> bytes:
        """Return the line to send."""
        secrets = {name: _text(value) for name, value in self.secrets.items()}
        texts = {"script": _text(self.script), "snapshot": _text(self.snapshot), "secrets": secrets}
        return json.dumps(self._asdict() | texts).encode() + b"\n"


class Report(NamedTuple):
    """The keeper's report when the script has ended.

    Attributes:
        status: Exit status, as a shell reports it.
        labels: Bytes of /.build.labels.
        snapshot: The state of the script's shell, written at the end.
        reached_end: Whether the script got there.
        faked: What the layer cannot store.
        error: What, where and hint if the script could not be run.
    """

    status: int
    labels: bytes = b""
    snapshot: bytes = b""
    reached_end: bool = False
    faked: tuple[str, ...] = ()
    error: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Return the line to send."""
        texts = {"labels": _text(self.labels), "snapshot": _text(self.snapshot)}
        return json.dumps(self._asdict() | texts).encode() + b"\n"


def read_plan(line: bytes) -> Plan:
    """Return the plan in a line."""
    plan = Plan(**json.loads(line))
    secrets = {name: _bytes(value) for name, value in plan.secrets.items()}
    return plan._replace(script=_bytes(plan.script), snapshot=_bytes(plan.snapshot), secrets=secrets)


def read_report(line: bytes) -> Report:
    """Return the report in a line; ValueError if it is not valid."""
    report = Report(**json.loads(line))
    return report._replace(labels=_bytes(report.labels), snapshot=_bytes(report.snapshot))


def failure(error: Exception, root: str) -> Report:
    """Return a report that the script could not be run.

    Args:
        error: What happened.
        root: Folder of the tree: paths below it are reported as the image has them.
    """
    if isinstance(error, SifmakeError):
        return Report(1, error=(error.what, error.where, error.hint))
    if isinstance(error, OSError):
        where = error.filename if isinstance(error.filename, str | bytes) else ""
        path = os.fsdecode(where)
        inside = f"{path.removeprefix(root) or '/'} in the image" if f"{path}/".startswith(f"{root}/") else path
        return Report(1, error=(error.strerror or str(error), inside, ""))
    return Report(1, error=(f"{type(error).__name__}: {error}", "", "please report this"))


def _text(data: bytes) -> str:
    """Return bytes as text for JSON."""
    return data.decode("latin-1")


def _bytes(text: str | bytes) -> bytes:
    """Return the bytes of such a text."""
    return text.encode("latin-1") if isinstance(text, str) else text
