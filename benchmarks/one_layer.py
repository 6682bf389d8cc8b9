"""The threads of one large layer: the processor time of the busiest one beside that of inflating alone.

``python -m benchmarks.one_layer BLOB`` packs a layer with ``compression: fast`` and prints JSON. Threads that compress
are not counted, because there are as many of them as processors; the others are what more processors cannot speed up.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from benchmarks.report import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench

_LIMIT = 1.25
_LIMIT_OF_MEMBERS = 1.0
"""The most processor time of the busiest thread, for each second of inflating alone."""
_MEMBER = 65280
"""Bytes of a member, as bgzip has them."""
_SHARED = ("compress", "sync", "sampler")


def one_layer(bench: Bench) -> None:
    """One large layer: the busiest thread beside inflating alone, and the same layer as members of 64 KiB."""
    blob = max(map(bench.image.blob, bench.image.layers), key=lambda path: path.stat().st_size)
    members = bench.work / "members.gz"
    cut_into_members(blob, members)
    for name, path, limit in (("one layer", blob, _LIMIT), ("one layer of many members", members, _LIMIT_OF_MEMBERS)):
        runs = [_run(path) for _ in range(bench.scale.repeat)]
        found = sorted(runs, key=lambda run: run["busiest"] / run["alone"])[len(runs) // 2]
        threads = ", ".join(f"{thread} {seconds:.2f} s" for thread, seconds in found["threads"].items())
        note = f"inflating alone {found['alone']:.2f} s; {threads}; {found['size'] / 1e6:.0f} MB"
        ratio = found["busiest"] / found["alone"]
        bench.report.add(Figure(f"{name}: busiest thread against inflating", ratio, limit, "x", note=note))
    members.unlink()


def _run(blob: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.one_layer", str(blob)]
    done = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[1])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cut_into_members(blob: Path, target: Path) -> None:
    """Write the content of a gzip blob as members of 64 KiB."""
    from isal import igzip

    with igzip.open(blob) as plain, target.open("wb") as out:
        while data := plain.read(_MEMBER):
            out.write(igzip.compress(data, 1))


def measure(blob: Path) -> dict[str, Any]:
    """Inflate a layer, then pack it; return the processor seconds of both, and of each thread.

    Returns:
        ``size`` of the blob, seconds ``alone``, ``busiest`` and ``threads``, and the packed layer's ``diff_id``.
    """
    from sifmake.layers.inflate import inflate
    from sifmake.limits import DEFAULT_LIMITS

    begin = time.thread_time()
    with blob.open("rb", buffering=0) as file:
        for _ in inflate(file.read, DEFAULT_LIMITS):
            pass
    alone = time.thread_time() - begin
    begin = time.thread_time()
    with blob.open("rb", buffering=0) as file, tempfile.TemporaryFile() as out, _sampled() as threads:
        diff_id = _pack(file, out, blob.stat().st_size)
    threads["inflate"] = time.thread_time() - begin
    return {
        "size": blob.stat().st_size,
        "alone": alone,
        "busiest": max(threads.values()),
        "threads": threads,
        "diff_id": diff_id,
    }


def _pack(file: BinaryIO, out: BinaryIO, size: int) -> str:
    from sifmake.layers.blocks import Workers
    from sifmake.layers.codec import make_codec
    from sifmake.layers.image_budget import ImageBudget
    from sifmake.layers.pack_writer import write_passing
    from sifmake.limits import DEFAULT_LIMITS
    from sifmake.progress import Silent
    from sifmake.sources.base import LayerCandidate

    head = file.read(512)
    file.seek(0)
    candidate = LayerCandidate("layer", file, head, size, "sha256", file.tell)
    budget = ImageBudget(DEFAULT_LIMITS)
    task = Silent().task("")
    with Workers() as workers:
        return write_passing(out, candidate, make_codec("fast"), workers, DEFAULT_LIMITS, task, budget).diff_id


@contextmanager
def _sampled() -> Iterator[dict[str, float]]:
    """Collect the processor seconds of this process's other threads, every 10 ms, because they end by themselves."""
    found: dict[str, float] = {}
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.01):
            for thread in threading.enumerate()[1:]:
                name = thread.name.rpartition("_")[0]
                if name not in _SHARED and (seconds := _seconds(thread.native_id)):
                    found[name] = seconds

    sampler = threading.Thread(target=sample, name="sampler_0")
    sampler.start()
    try:
        yield found
    finally:
        done.set()
        sampler.join()


def _seconds(thread: int | None) -> float:
    try:
        return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
