"""Builds from a definition file on the layered image: first build, unchanged, changed metadata, one more step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.bench import median
from benchmarks.image import FIRST
from benchmarks.measure import Run, run
from benchmarks.report import Figure
from benchmarks.tool import COMMAND

if TYPE_CHECKING:
    from benchmarks.bench import Bench

PEER_FACTOR, METADATA_FACTOR, STEP_SECONDS = 0.6, 1 / 50, 0.15
_RUNS = 5


def definition(bench: Bench) -> None:
    """Build a definition file with a short %post on the layered image; also with Apptainer if it is installed."""
    shell = shutil.which("busybox")
    if shell is None:
        bench.report.skip("definition", "busybox is missing, the shell of %post")
        return
    works = _Works(bench, Path(shell))
    bench.tool.forget()
    shutil.rmtree(works.folder / "trees", ignore_errors=True)
    first = works.build()
    peer = works.build_by_peer()
    note = f"Apptainer {peer.seconds:.1f} s" if peer else "Apptainer is not installed"
    limit = PEER_FACTOR * peer.seconds if peer else None
    bench.report.add(Figure("definition: first build", first.seconds, limit, note=note))
    metadata = [works.build(metadata=f"export A={number}") for number in range(_RUNS)]
    limit = METADATA_FACTOR * peer.seconds if peer else None
    bench.report.add(Figure("definition: changed %environment", median(metadata), limit))
    steps = [works.build(script=f"echo {number} > /step") for number in range(_RUNS)]
    seconds = median(steps) - median(metadata)
    bench.report.add(Figure("definition: a step over an unpacked base", seconds, STEP_SECONDS))
    bench.report.add(Figure("definition: steps run on a second machine", works.steps_elsewhere(), 0, ""))


class _Works:
    """A folder with definition files."""

    def __init__(self, bench: Bench, shell: Path) -> None:
        self.folder = bench.work / "definition"
        self.folder.mkdir(exist_ok=True)
        self._bench = bench
        self._shell = shell
        self._target = self.folder / "out.sif"

    def build(self, script: str = "echo hello > /hello", metadata: str = "") -> Run:
        """Build a definition that has this %post and %environment."""
        self._write(script, metadata)
        os.sync()
        return run([*COMMAND, "build", "-F", self._target, self.folder / "tool.def"], self._environ(), self.folder)

    def build_by_peer(self) -> Run | None:
        """Build the same with Apptainer, in a namespace with its own /tmp; return None if it is not installed."""
        if not peers.available("apptainer", "unshare"):
            return None
        self._write("echo hello > /hello", "")
        private = (
            "mount -t tmpfs none /tmp && mount -t tmpfs none /var/tmp && exec apptainer build -F peer.sif tool.def"
        )
        return run(["unshare", "-m", "sh", "-c", private], os.environ, self.folder)

    def steps_elsewhere(self) -> int:
        """Return how many steps run if another machine's store is readable."""
        self._write("echo hello > /hello", "")
        own = {"SIFMAKE_CACHE": str(self.folder / "empty"), "SIFMAKE_READONLY_CACHE": str(self._bench.tool.store)}
        shutil.rmtree(self.folder / "empty", ignore_errors=True)
        command = [*COMMAND, "-q", "build", "--json", "-F", self._target, self.folder / "tool.def"]
        done = subprocess.run(command, env={**self._environ(), **own}, cwd=self.folder, check=True, capture_output=True)
        ran: int = json.loads(done.stdout)["steps"]["run"]
        return ran

    def _environ(self) -> dict[str, str]:
        return {**self._bench.tool.environ, "SIFMAKE_TMPDIR": str(self.folder / "trees")}

    def _write(self, script: str, metadata: str) -> None:
        (self.folder / "trees").mkdir(exist_ok=True)
        text = f"Bootstrap: oci\nFrom: {self._bench.image.layout}:{FIRST}\n\n%files\n    {self._shell} /bin/sh\n\n"
        text += f"%post\n    {script}\n\n" + (f"%environment\n    {metadata}\n" if metadata else "")
        (self.folder / "tool.def").write_text(text)
