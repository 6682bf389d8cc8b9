"""``exec URI`` on an empty store: the time until the command runs, beside a pull of the default and a floor.

The floor reads, inflates and hashes the layers on two threads, which is all that has to be done before a command may
run: it writes nothing, compresses nothing and asks no registry.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.bench import THREADS, median
from benchmarks.image import FIRST
from benchmarks.measure import Run
from benchmarks.report import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench

PULL_FACTOR = 0.6
PIECE = 512 << 10
CLOCK = ("cat", "/proc/uptime")
"""What the command runs: the clock of :data:`time.CLOCK_BOOTTIME`."""


def first_command(bench: Bench) -> None:
    """Time of ``exec docker://...`` on an empty store until the command runs, in turns with a pull of the default."""
    busybox = shutil.which("busybox")
    if not busybox or not peers.available("docker-registry", "skopeo", "bwrap", "squashfuse"):
        bench.report.skip("first command", "busybox, docker-registry, skopeo, bwrap or squashfuse is missing")
        return
    started, ended, pulls, floors = [], [], [], []
    with peers.registry(bench.work) as server:
        reference = f"docker://{server.push(bench.image, FIRST, 'bench/layered')}"
        for _ in range(bench.scale.repeat):
            floors.append(_floor([bench.image.blob(name) for name in bench.image.layers]))
            bench.tool.forget()
            pulls.append(bench.tool.pull(reference, bench.sif))
            bench.tool.forget()
            begun, whole = _run(bench, reference, busybox)
            started.append(begun)
            ended.append(whole)
    bench.pulled = False
    first, pull, floor = median(started), median(pulls), median(floors)
    note = f"ends after {median(ended):.2f} s; CPU {median(ended, lambda run: run.cpu):.1f} s"
    bench.report.add(Figure("first command of an image", first, note=note))
    bench.report.add(Figure("first command, against the floor", first / floor, None, "x", note=f"floor {floor:.2f} s"))
    note = f"pull {pull:.2f} s, CPU {median(pulls, lambda run: run.cpu):.1f} s"
    bench.report.add(Figure("first command, against a pull of the default", first / pull, PULL_FACTOR, "x", note=note))


def _run(bench: Bench, reference: str, busybox: str) -> tuple[Run, Run]:
    """Run a command; return the time until it runs, and until sifmake ends, with the processor time of all."""
    words = ["exec", "-q", "--runtime", "builtin", "--no-https", "--bind", f"{busybox}:/usr/bin/busybox"]
    command = [bench.tool.script(), *words, reference, "/usr/bin/busybox", *CLOCK]
    os.sync()
    begin = time.clock_gettime(time.CLOCK_BOOTTIME)
    with subprocess.Popen(command, env=bench.tool.environ, cwd=bench.work, stdout=subprocess.PIPE) as process:
        said = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        end = time.clock_gettime(time.CLOCK_BOOTTIME)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(float(said.split()[0]) - begin, cpu, 0), Run(end - begin, cpu, 0)


def _floor(blobs: list[Path]) -> Run:
    """Read, inflate and hash blobs."""
    begin, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(_digests, blobs))
    return Run(time.perf_counter() - begin, time.process_time() - cpu, 0)


def _digests(blob: Path) -> tuple[str, str]:
    """Return the SHA-256 of a blob and of what it inflates to."""
    from isal import isal_zlib

    packed, plain = sha256(), sha256()
    inflate = isal_zlib.decompressobj(31)
    with blob.open("rb", buffering=0) as file:
        while data := file.read(PIECE):
            packed.update(data)
            plain.update(inflate.decompress(data))
    return packed.hexdigest(), plain.hexdigest()
