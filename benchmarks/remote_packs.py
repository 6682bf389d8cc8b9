"""Pulling an image whose packs another machine has put into a registry."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.bench import median
from benchmarks.image import FIRST
from benchmarks.measure import Run, run
from benchmarks.report import Figure
from benchmarks.tool import COMMAND, Tool

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.image import Image

_PART = 0.25
"""The most CPU time for fetching and checking packs, for each second of fetching and packing layers."""


def remote_packs(bench: Bench) -> None:
    """Packs of a registry, checked by their DiffID, beside packing: the CPU that a full store spares."""
    if not peers.available("docker-registry", "skopeo"):
        bench.report.skip("packs from a registry", "docker-registry or skopeo is missing")
        return
    with peers.registry(bench.work) as server:
        reference = f"docker://{server.push(bench.image, FIRST, 'bench/layered')}"
        packs = f"oci://{server.address}/bench/packs"
        packing, fetching, writing = [], [], []
        user = Tool(bench.work / "store-packs")
        for _ in range(max(3, bench.scale.repeat)):
            bench.tool.forget()
            packing.append(bench.tool.pull(reference, bench.sif))
            bench.pulled = True
            push = [*COMMAND, "cache", "push", "--remote", packs, _manifest(bench.image)]
            run(push, bench.tool.environ, bench.work)
            user.forget()
            fetching.append(_pull(user, reference, bench.work / "fetched.sif", packs))
            shutil.rmtree(user.store / "patches", ignore_errors=True)
            writing.append(_pull(user, reference, bench.work / "fetched.sif", packs))
            if bench.sif.read_bytes() != (bench.work / "fetched.sif").read_bytes():
                raise SystemExit("the image from packs of a registry has other bytes")
    _tell(bench, packing, fetching, writing)
    shutil.rmtree(user.store)
    (bench.work / "fetched.sif").unlink()


def _tell(bench: Bench, packing: list[Run], fetching: list[Run], writing: list[Run]) -> None:
    before, after, rest = (median(runs, lambda run: run.cpu) for runs in (packing, fetching, writing))
    note = (
        f"CPU of a pull {after:.2f} s, packing {before:.2f} s, with a full store {rest:.2f} s; "
        f"wall {median(fetching):.2f} s, packing {median(packing):.2f} s"
    )
    part = (after - rest) / (before - rest)
    bench.report.add(Figure("packs from a registry: CPU of fetching and packing", part, _PART, "x", note=note))


def _pull(user: Tool, reference: str, target: Path, packs: str) -> Run:
    target.unlink(missing_ok=True)
    os.sync()
    environ = {**user.environ, "SIFMAKE_REMOTE_PACKS": packs}
    return run([*COMMAND, "pull", target, reference], environ, target.parent)


def _manifest(image: Image) -> str:
    """Return the digest of the first image's manifest."""
    entries = json.loads((Path(image.layout) / "index.json").read_text())["manifests"]
    return next(str(e["digest"]) for e in entries if e["annotations"]["org.opencontainers.image.ref.name"] == FIRST)
