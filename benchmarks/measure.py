"""Running a program and measuring its time and its anonymous memory."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

INTERVAL = 0.01
KEYS = ("RssAnon:", "RssShmem:", "VmSwap:")


@dataclass(frozen=True)
class Run:
    """Time and memory of one run of a program.

    Attributes:
        seconds: Wall clock.
        cpu: User and system seconds, including children that were waited for.
        anonymous: Highest sampled sum of anonymous, shared and swapped bytes of it and all its children.
    """

    seconds: float
    cpu: float
    anonymous: int


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Run:
    """Run a program until it ends.

    Raises:
        SystemExit: It failed; its output is in the message.
    """
    begin = time.perf_counter()
    with subprocess.Popen(command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        watch = _Watch(process.pid)
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    peak = watch.stop()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{output.decode(errors='replace')}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak)


class _Watch:
    """A thread that samples a process and its children a hundred times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._stopped.wait(INTERVAL):
            self._peak = max(self._peak, sum(_anonymous(pid) for pid in _family(self._pid)))


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # a hundred times a second
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield from _family(int(child))
    except OSError:
        return


def _anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(KEYS))
