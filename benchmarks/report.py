"""Figures, their limits, and the table that shows them."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

UNITS = {"s": "{:.3f} s", "x": "{:.3f} x", "MiB": "{:.1f} MiB", "": "{:g}"}


@dataclass(frozen=True)
class Figure:
    """One measured value.

    Attributes:
        name: What was measured.
        value: In ``unit``.
        limit: The limit of the value; None for information only.
        unit: A key of :data:`UNITS`.
        at_least: Whether the limit is a lower bound.
        note: What to compare the value with: the floor, a peer's figure.
    """

    name: str
    value: float
    limit: float | None = None
    unit: str = "s"
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return PASS or FAIL; empty without a limit."""
        if self.limit is None:
            return ""
        return "PASS" if (self.value >= self.limit if self.at_least else self.value <= self.limit) else "FAIL"


@dataclass
class Report:
    """All figures of a run, in order."""

    figures: list[Figure] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def add(self, figure: Figure) -> None:
        """Add a figure and print its line immediately."""
        self.figures.append(figure)
        print(_line(figure), flush=True)

    def skip(self, name: str, why: str) -> None:
        """Report that something was not measured."""
        self.skipped[name] = why
        print(f"{name:<46} not measured: {why}", flush=True)

    def fail(self, name: str, why: str) -> None:
        """Report that a check ended with an error."""
        self.broken[name] = why.strip().splitlines()[-1]
        print(f"{name:<46} FAIL\n{why}", flush=True)

    @property
    def failed(self) -> bool:
        """Return whether a figure exceeds its limit or a check ended with an error."""
        return bool(self.broken) or any(figure.verdict == "FAIL" for figure in self.figures)

    def table(self) -> str:
        """Return a Markdown table."""
        rows = ["| | measured | limit | | beside it |", "|---|---:|---:|---|---|"]
        for figure in self.figures:
            cells = (figure.name, _show(figure.value, figure.unit), _show_limit(figure), figure.verdict, figure.note)
            rows.append(f"| {' | '.join(cells)} |")
        rows += [f"| {name} | | | not measured | {why} |" for name, why in self.skipped.items()]
        rows += [f"| {name} | | | FAIL | {why} |" for name, why in self.broken.items()]
        return "\n".join(rows)

    def write(self, path: Path, facts: dict[str, Any]) -> None:
        """Write everything as JSON."""
        figures = [{**asdict(figure), "verdict": figure.verdict} for figure in self.figures]
        document = {
            "machine": machine(),
            "facts": facts,
            "figures": figures,
            "skipped": self.skipped,
            "broken": self.broken,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """Return the properties of the machine on which the figures depend."""
    cpu = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "cpu": cpu or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _show(value: float, unit: str) -> str:
    return UNITS[unit].format(value)


def _show_limit(figure: Figure) -> str:
    if figure.limit is None:
        return ""
    return ("at least " if figure.at_least else "") + _show(figure.limit, figure.unit)


def _line(figure: Figure) -> str:
    limit = _show_limit(figure)
    return (
        f"{figure.name:<46} {_show(figure.value, figure.unit):>12}  {limit:>18}  {figure.verdict:<4}  {figure.note}"
    ).rstrip()
