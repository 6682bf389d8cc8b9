"""Pulling a newer version of a SIF file over a cluster's link when the older version is on the disk."""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.bench import median
from benchmarks.image import CHANGED
from benchmarks.link import throttled
from benchmarks.measure import Run, run
from benchmarks.report import Figure
from benchmarks.tool import COMMAND, Tool

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench

RATE, ROUND_TRIP = 20e6, 0.05
_SENT = re.compile(r'"GET /v2/bench/sif/\S+ HTTP/1.1" \d+ (\d+)')
_FIXED_SECONDS, _COPIES, _PART_MOVED = 1.0, 2, 1 / 20
"""The pull writes the file and the store's copy of it; only a small top layer of the image changed."""


def sif_update(bench: Bench) -> None:
    """Update a SIF file after a change of one small top layer: bytes sent, and seconds at 20 MB/s and 50 ms."""
    if not peers.available("docker-registry"):
        bench.report.skip("SIF update", "docker-registry is missing")
        return
    old, new, target = bench.ensure_sif(), bench.work / "changed.sif", bench.work / "updated.sif"
    bench.tool.pull(bench.layout_reference(CHANGED), new)
    copy = peers.copy_and_hash(new, bench.work / "copy.sif")
    with peers.registry(bench.work) as server, throttled(server.address, RATE, ROUND_TRIP) as slow:
        run([*COMMAND, "push", new, f"oras://{server.address}/bench/sif:1"], bench.tool.environ, bench.work)
        user, reference = Tool(bench.work / "store-user"), f"oras://{slow}/bench/sif:1"
        runs, moved = [], 0
        for _ in range(max(3, bench.scale.repeat)):
            shutil.copyfile(old, target)
            since = server.position()
            runs.append(_pull(user, reference, target))
            moved = _sent(server, since)
        whole = _pull(user, reference, bench.work / "whole.sif")
    limit = moved / RATE + _FIXED_SECONDS + _COPIES * copy
    note = f"the complete file {whole.seconds:.2f} s; cp + sync + SHA-256 {copy:.2f} s"
    bench.report.add(Figure("SIF update over 20 MB/s and 50 ms", median(runs), limit, note=note))
    size = new.stat().st_size
    bench.report.add(
        Figure("SIF update: moved of each byte", moved / size, _PART_MOVED, "x", note=f"{moved} of {size}")
    )
    shutil.rmtree(user.store)
    for path in (new, target, bench.work / "copy.sif", bench.work / "whole.sif"):
        path.unlink()


def _pull(user: Tool, reference: str, target: Path) -> Run:
    """Pull over the existing file, with an empty store."""
    user.forget()
    os.sync()
    return run([*COMMAND, "pull", "--force", target, reference], user.environ, target.parent)


def _sent(server: peers.Registry, since: int) -> int:
    """Return the bytes of all answers after a position in the log, including documents."""
    time.sleep(0.2)
    log = server.log.read_bytes()[since:].decode(errors="replace")
    return sum(int(size) for size in _SENT.findall(log))
