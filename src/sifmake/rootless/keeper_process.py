"""The caller's side of the keeper: start it, pass on the script's output, read the report and the layer."""

from __future__ import annotations

import marshal
import os
import selectors
from contextlib import suppress
from typing import IO, TYPE_CHECKING, cast

from sifmake.layers.entry import Entry
from sifmake.rootless.errors import RootlessError
from sifmake.rootless.interpreter import start_program
from sifmake.rootless.keeper import keep
from sifmake.rootless.plan import LAYER, Plan, Report, read_report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, Self

    from sifmake.rootless.layer import Record
    from sifmake.rootless.script import TraceReader

_PART = 1 << 16
_LAYER_PART = 1 << 20


class KeeperProcess:
    """One keeper. It ends with the block, with everything that it has started.

    Args:
        lock: File descriptor that it holds until it ends.

    Attributes:
        layer_end: File descriptor to which it writes the layer.
    """

    def __init__(self, lock: int) -> None:
        self._report, report_end = os.pipe()
        self._output, output_end = os.pipe()
        self._layer, self.layer_end = os.pipe()
        try:
            self._process = start_program(keep, report_end, output_end, [self.layer_end, lock])
        finally:
            os.close(report_end)
            os.close(output_end)
        self._said = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._input().close()
        for fd in (self._report, self._output, self._layer):
            os.close(fd)
        self._process.wait()

    def run(self, plan: Plan, trace: TraceReader) -> Report:
        """Run the script, and pass its output to the reader.

        Raises:
            RootlessError: The script could not be run.
        """
        os.close(self.layer_end)
        with suppress(BrokenPipeError):
            self._input().write(plan.encode())
            self._input().flush()
        self._pass_output_on(trace)
        return self._read_report()

    def changes(self) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        """Request the changes and yield them: entries, and the content of files, which must be read immediately."""
        self._input().write(LAYER)
        self._input().flush()
        # Without a descriptor of its own: an error may keep this generator alive, and the keeper would wait for ever.
        with os.fdopen(self._layer, "rb", buffering=_LAYER_PART, closefd=False) as file:
            while (record := self._next_record(file)) is not None:
                path, kind, mode, uid, gid, mtime, size, target, major, minor, xattrs = record
                entry = Entry(path, kind, mode, uid, gid, mtime, size, -1, target, major, minor, xattrs)
                yield entry, self._content(file, entry)
        self._read_report()

    def _next_record(self, file: BinaryIO) -> Record | None:
        try:
            record: Record | None = marshal.load(file)  # noqa: S302 - our own process wrote it
        except EOFError:
            self._read_report()  # says why
            raise
        return record

    def _content(self, file: BinaryIO, entry: Entry) -> Iterator[bytes]:
        left = entry.size
        while left:
            part = file.read(min(left, _LAYER_PART))
            if not part:
                self._read_report()
                raise EOFError
            left -= len(part)
            yield part

    def _pass_output_on(self, trace: TraceReader) -> None:
        """Pass on the output until the report has arrived, including what came before it."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._output, selectors.EVENT_READ)
            ready.register(self._report, selectors.EVENT_READ)
            while b"\n" not in self._said:
                fds = [key.fd for key, _ in ready.select()]
                if self._output in fds:
                    part = os.read(self._output, _PART)
                    trace.feed(part)
                    if not part:
                        ready.unregister(self._output)
                elif not self._hear():
                    break
        os.set_blocking(self._output, False)
        with suppress(BlockingIOError):
            while part := os.read(self._output, _PART):
                trace.feed(part)
        trace.end()

    def _hear(self) -> bool:
        """Read a piece of the report; return whether there was one."""
        part = os.read(self._report, _PART)
        self._said += part
        return bool(part)

    def _read_report(self) -> Report:
        while b"\n" not in self._said and self._hear():
            pass
        line, _, self._said = self._said.partition(b"\n")
        if not line:
            raise RootlessError("the process that runs the script was killed", hint="check that there is enough memory")
        report = read_report(line)
        if report.error:
            what, where, hint = report.error
            raise RootlessError(what, where=where, hint=hint)
        return report

    def _input(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdin)
