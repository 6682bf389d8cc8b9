"""A small fuzzer: changes inputs, keeps those that reach new lines of sifmake, and says what should not have happened.

An input is a fault when anything but a ``SifmakeError`` (or what a target allows) comes out of the target, when it
takes more than 5 s of processor time, or when there is no memory left: ``python -m tests.fuzz`` runs with 256 MiB.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from fuzz.mutation import mutate
from sifmake.errors import SifmakeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import CodeType, FrameType

MOST_SECONDS = 5.0
"""Processor time that one input may take."""
MEMORY = 256 << 20
"""Bytes of memory that a process may use for one input."""
LONGEST = 4 << 20
"""Bytes of an input; larger ones are for the tests of the formats."""
SUSPICIOUS = 1.0
"""Seconds after which an input is measured again without tracing, which takes several times as long."""
SOURCES = os.sep + "sifmake" + os.sep


@dataclass(frozen=True)
class Target:
    """Something that reads bytes of strangers.

    Attributes:
        name: For the command line.
        seeds: Returns inputs to start from.
        run: Reads one input.
        repair: Makes checksums fit again, so that changes get further than the first check.
        change: Changes an input in a way that the format understands; tried every other time.
        tokens: Pieces that the format is made of.
        allowed: Exceptions besides ``SifmakeError`` that say what they mean.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes], object]
    repair: Callable[[bytes], bytes] = bytes
    tokens: tuple[bytes, ...] = ()
    change: Callable[[bytes, random.Random], bytes] | None = None
    allowed: tuple[type[BaseException], ...] = ()


class TooSlowError(BaseException):
    """The processor time is used up; derived so that nothing on the way catches it."""


@dataclass
class Report:
    """What a run found.

    Attributes:
        runs: Inputs that were tried.
        lines: Lines of sifmake that were reached.
        kept: Inputs that reached something new.
        slowest: Seconds of the slowest input.
        faults: Text of each fault, by where it happened.
    """

    runs: int = 0
    lines: int = 0
    kept: int = 0
    slowest: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)


class Tracer:
    """Notes which steps from line to line have been seen."""

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int, int]] = set()
        self.fresh = False
        self._ours: dict[CodeType, bool] = {}
        self._last = 0

    def __call__(self, frame: FrameType, _event: str, _value: object) -> Any:
        code = frame.f_code
        ours = self._ours.get(code)
        if ours is None:
            ours = self._ours[code] = SOURCES in code.co_filename
        return self._line if ours else None

    def _line(self, frame: FrameType, _event: str, _value: object) -> Any:
        step = (frame.f_code, self._last, frame.f_lineno)
        self._last = frame.f_lineno
        if step not in self.seen:
            self.seen.add(step)
            self.fresh = True
        return self._line


def attempt(target: Target, data: bytes, seconds: float = MOST_SECONDS) -> tuple[str, str]:
    """Run one input; return where and what went wrong, or two empty texts."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        target.run(data)
    except (SifmakeError, *target.allowed):
        return "", ""
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - also what a C library throws
        signal.setitimer(signal.ITIMER_PROF, 0)
        return _place(error), "".join(traceback.format_exception(error, limit=-12))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return "", ""


def _place(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if SOURCES in frame.filename]
    last = frames[-1] if frames else None
    where = f"{last.filename.rpartition(SOURCES)[2]}:{last.lineno}" if last else "?"
    kind = type(error).__name__
    return kind if isinstance(error, TooSlowError | MemoryError) else f"{kind} {where}"


class Fuzzer:
    """Runs one target.

    Args:
        target: What is run.
        faults: Folder for inputs that are faults; None to keep none.
        seed: Of the random numbers.
    """

    def __init__(self, target: Target, faults: Path | None, seed: int = 0) -> None:
        self._target = target
        self._faults = faults
        self._random = random.Random(f"{target.name} {seed}")
        self._tracer = Tracer()
        self._corpus: list[bytes] = []
        self.report = Report()

    def run(self, seconds: float, inputs: float = inf) -> Report:
        """Try the seeds, then changes of what reached something new, until the time is over.

        Args:
            seconds: For how long.
            inputs: How many inputs are enough; the same ones are tried on a fast machine and on a slow one.
        """
        end = time.monotonic() + seconds
        for data in self._target.seeds():
            self.try_one(data)
        if not self._corpus:
            self._corpus.append(b"")
        while time.monotonic() < end and self.report.runs < inputs:
            self.try_one(self._changed())
        self.report.lines = len({(code, line) for code, _, line in self._tracer.seen})
        self.report.kept = len(self._corpus)
        return self.report

    def _changed(self) -> bytes:
        choose = self._random
        newest = choose.random() < 0.5
        data = (
            self._corpus[-1 - int(choose.random() ** 3 * len(self._corpus))] if newest else choose.choice(self._corpus)
        )
        if self._target.change is not None and choose.random() < 0.5:
            with contextlib.suppress(Exception):  # inputs may be too broken for it
                return self._target.change(data, choose)
        data = mutate(data, choose.choice(self._corpus), self._target.tokens, choose)[:LONGEST]
        if choose.random() < 0.9:
            with contextlib.suppress(Exception):
                data = self._target.repair(data)
        return data

    def try_one(self, data: bytes) -> None:
        """Run one input, and keep it if it is worth it."""
        self._tracer.fresh = False
        start = time.process_time()
        sys.settrace(self._tracer)
        try:
            where, what = attempt(self._target, data, 8 * MOST_SECONDS)
        finally:
            sys.settrace(None)
        spent = time.process_time() - start
        if spent > SUSPICIOUS:
            start = time.process_time()
            where, what = attempt(self._target, data)
            spent = time.process_time() - start
            if not where and spent > MOST_SECONDS:
                where, what = "TooSlowError", f"{spent:.1f} s"
        self.report.runs += 1
        self.report.slowest = max(self.report.slowest, spent)
        if where:
            self._note(where, what, data)
        elif self._tracer.fresh and spent < SUSPICIOUS:
            self._corpus.append(data)

    def _note(self, where: str, what: str, data: bytes) -> None:
        if where in self.report.faults:
            return
        self.report.faults[where] = what
        if self._faults is not None:
            self._faults.mkdir(parents=True, exist_ok=True)
            name = f"{self._target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
            (self._faults / name).write_bytes(data)
            self.report.faults[where] = f"{self._faults / name}\n{what}"
