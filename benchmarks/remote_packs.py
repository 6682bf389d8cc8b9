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
"""The most CPU time of a pull from packs, for each second of a pull that packs."""


def remote_packs(bench: Bench) -> None:
    """Pull with an empty store: packing the layers, and with packs of a registry that are checked by their DiffID."""
    if not peers.available("docker-registry", "skopeo"):
        bench.report.skip("packs from a registry", "docker-registry or skopeo is missing")
        return
    with peers.registry(bench.work) as server:
        reference = f"docker://{server.push(bench.image, FIRST, 'bench/layered')}"
        packs = f"oci://{server.address}/bench/packs"
        packing, fetching = [], []
        user = Tool(bench.work / "store-packs")
        for _ in range(max(3, bench.scale.repeat)):
            bench.tool.forget()
            packing.append(bench.tool.pull(reference, bench.sif))
            bench.pulled = True
            push = [*COMMAND, "cache", "push", "--remote", packs, _manifest(bench.image)]
            run(push, bench.tool.environ, bench.work)
            fetching.append(_pull(user, reference, bench.work / "fetched.sif", packs))
            if bench.sif.read_bytes() != (bench.work / "fetched.sif").read_bytes():
                raise SystemExit("the image from packs of a registry has other bytes")
    _tell(bench, packing, fetching)
    shutil.rmtree(user.store)
    (bench.work / "fetched.sif").unlink()


def _tell(bench: Bench, packing: list[Run], fetching: list[Run]) -> None:
    before, after = (median(runs, lambda run: run.cpu) for runs in (packing, fetching))
    note = f"CPU {after:.2f} s of {before:.2f} s; wall {median(fetching):.2f} s of {median(packing):.2f} s"
    bench.report.add(Figure("packs from a registry: CPU of a pull that packs", after / before, _PART, "x", note=note))


def _pull(user: Tool, reference: str, target: Path, packs: str) -> Run:
    user.forget()
    target.unlink(missing_ok=True)
    os.sync()
    environ = {**user.environ, "SIFMAKE_REMOTE_PACKS": packs}
    return run([*COMMAND, "pull", target, reference], environ, target.parent)


def _manifest(image: Image) -> str:
    """Return the digest of the first image's manifest."""
    entries = json.loads((Path(image.layout) / "index.json").read_text())["manifests"]
    return next(str(e["digest"]) for e in entries if e["annotations"]["org.opencontainers.image.ref.name"] == FIRST)
