"""State that all checks share: the images, the store, and results that several checks need."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.image import FIRST
from benchmarks.measure import Run
from benchmarks.tool import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.image import Image
    from benchmarks.report import Report
    from benchmarks.scale import Scale

THREADS = 2


@dataclass
class Bench:
    """State of a run.

    Attributes:
        scale: How big.
        work: Folder for everything.
        image: The layered image.
        report: Takes the figures.
        floors: Runs of the floor program, measured beside the first pulls.
        pulled: Whether the SIF and the store are this run's.
    """

    scale: Scale
    work: Path
    image: Image
    report: Report
    floors: list[Run] = field(default_factory=list)
    pulled: bool = False

    @property
    def tool(self) -> Tool:
        """Return sifmake with this run's store."""
        return Tool(self.work / "store")

    @property
    def sif(self) -> Path:
        """Return the folder for pulled images."""
        return self.work / "first.sif"

    @property
    def bundle(self) -> Path:
        """Return the folder into which umoci unpacks."""
        return self.work / "bundle"

    @property
    def squashed(self) -> Path:
        """Return the path of the image that mksquashfs makes of the unpacked tree at its default level."""
        return Path(self.image.layout) / "default.squashfs"

    def floor(self) -> None:
        """Run the floor program once."""
        pairs = [str(path) for name in self.image.layers for path in (self.image.blob(name), self.image.extents(name))]
        command = [sys.executable, "-m", "benchmarks.floor", str(THREADS), *pairs]
        result = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[1])
        found = json.loads(result.stdout)
        if [packed for packed, _ in found["digests"]] != self.image.layers:
            raise SystemExit("the floor program read other bytes than it should")
        self.floors.append(Run(found["seconds"], found["cpu"], 0))

    def first_pulls(self, reference: str) -> list[Run]:
        """Pull into an empty store as often as the scale says; run the floor program before each pull."""
        runs = []
        for _ in range(self.scale.repeat):
            self.floor()
            self.tool.forget()
            runs.append(self.tool.pull(reference, self.sif))
            self.pulled = True
        return runs

    def ensure_sif(self) -> Path:
        """Return the SIF of the first image, with its layers in the store."""
        if not self.pulled:
            self.tool.pull(self.layout_reference(FIRST), self.sif)
            self.pulled = True
        return self.sif

    def ensure_squashed(self) -> Path:
        """Return mksquashfs's image of the same tree, at its default gzip level 9."""
        if not self.squashed.exists():
            peers.unpack(self.image, FIRST, self.bundle)
            unfinished = self.squashed.with_suffix(".part")
            peers.squash(self.bundle / "rootfs", unfinished)
            unfinished.rename(self.squashed)
        return self.squashed

    def layout_reference(self, tag: str) -> str:
        """Return the reference of a tag of the layered image."""
        return f"oci:{self.image.layout}:{tag}"


def median(runs: list[Run], value: Callable[[Run], float] = lambda run: run.seconds) -> float:
    """Return the median of one value over several runs."""
    return statistics.median(value(run) for run in runs)
