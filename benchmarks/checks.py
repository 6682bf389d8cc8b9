"""The checks: each measures one promise of the README and states its limit."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import image, peers, readback, startup
from benchmarks.bench import median
from benchmarks.definitions import definition
from benchmarks.first_command import first_command
from benchmarks.image import CHANGED, FIRST
from benchmarks.many_images import many_images
from benchmarks.one_layer import one_layer
from benchmarks.remote_packs import remote_packs
from benchmarks.report import Figure
from benchmarks.shared_blocks import shared_blocks
from benchmarks.sif_update import sif_update
from benchmarks.tool import make_project, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.measure import Run

MIB = 1 << 20
LAYOUT_FACTOR, REGISTRY_FACTOR, PEER_FACTOR = 1.6, 1.8, 2.8
FAST_FACTOR = 0.6
FIXED_SECONDS, SECONDS_PER_ENTRY, COPY_FACTOR = 0.3, 10e-6, 1.5
FIXED_MEMORY, MEMORY_PER_ENTRY = 150 * MIB, 1536
SIZE_FACTOR, READ_FACTOR = 1.005, 1.1
EXEC_FACTOR, EXEC_RUNS = 1.5, 10
EXEC_COMMANDS = {"sh -c :": EXEC_FACTOR, "python3 -c pass": EXEC_FACTOR, "busybox true": None}
"""The limit for each program; a static program starts in less time than Python, in which sifmake is written."""
HELP_SECONDS, DOIT_SECONDS, DOIT_IMAGES = 0.15, 2.0, 100


def first_pull(bench: Bench) -> None:
    """First pull from a layout, compared with the floor and with umoci and mksquashfs."""
    runs = bench.first_pulls(bench.layout_reference(FIRST))
    _against_floor(bench, "first pull from a layout", runs, LAYOUT_FACTOR)
    _memory(bench, "peak anonymous memory, first pull", runs, bench.image.entries)
    if not peers.available("umoci", "mksquashfs"):
        bench.report.skip("first pull, times faster than umoci + mksquashfs", "umoci or mksquashfs is missing")
        return
    unpacked = peers.unpack(bench.image, FIRST, bench.bundle)
    squashed = peers.squash(bench.bundle / "rootfs", bench.work / "level6.squashfs", "-Xcompression-level", "6")
    both = unpacked.seconds + squashed.seconds
    note = f"umoci {unpacked.seconds:.1f} s + mksquashfs level 6 {squashed.seconds:.1f} s"
    ratio = both / median(runs)
    bench.report.add(
        Figure("first pull, times faster than these two", ratio, PEER_FACTOR, "x", at_least=True, note=note)
    )


def fast_pull(bench: Bench) -> None:
    """First pull with ``compression: fast``, in turns with one of the default, and the size of its file."""
    target, runs = bench.work / "fast.sif", []
    defaults = []
    for _ in range(bench.scale.repeat):
        for options, path, kind in (([], bench.sif, defaults), (["--compression", "fast"], target, runs)):
            bench.tool.forget()
            kind.append(bench.tool.pull(bench.layout_reference(FIRST), path, *options))
    seconds, default = median(runs), median(defaults)
    cpu, default_cpu = (median(some, lambda run: run.cpu) for some in (runs, defaults))
    note = f"{seconds:.2f} s, default {default:.2f} s; CPU {cpu:.1f} s, default {default_cpu:.1f} s"
    bench.report.add(Figure("first pull, fast against default", seconds / default, FAST_FACTOR, "x", note=note))
    bench.report.add(Figure("processor time, fast against default", cpu / default_cpu, None, "x"))
    bench.report.add(Figure("size, fast against default", target.stat().st_size / bench.sif.stat().st_size, None, "x"))
    bench.pulled = False


def registry_pull(bench: Bench) -> None:
    """First pull through docker-registry on the same cores, and the requests for an unchanged image."""
    if not peers.available("docker-registry", "skopeo"):
        bench.report.skip("registry", "docker-registry or skopeo is missing")
        return
    with peers.registry(bench.work) as server:
        reference = f"docker://{server.push(bench.image, FIRST, 'bench/layered')}"
        runs = bench.first_pulls(reference)
        _against_floor(bench, "first pull through docker-registry", runs, REGISTRY_FACTOR)
        _memory(bench, "peak anonymous memory, registry", runs, bench.image.entries)
        _unchanged(bench, server, reference)


def _unchanged(bench: Bench, server: peers.Registry, reference: str) -> None:
    project = make_project(bench.work / "project", {"layered": reference})
    bench.tool.doit(project, "pull_image")
    before, position = snapshot(project, bench.tool.store), server.position()
    run = bench.tool.doit(project, "pull_image")
    asked = [(method, path) for method, path in server.requests(position) if path != "/v2/"]
    after = snapshot(project, bench.tool.store)
    heads = [path for method, path in asked if method == "HEAD" and "/manifests/" in path]
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    surplus = len(asked) - len(heads) + abs(len(heads) - 1)
    note = ", ".join(f"{method} {path}" for method, path in asked[:3])
    bench.report.add(Figure("unchanged: requests besides one manifest HEAD", surplus, 0, "", note=note))
    bench.report.add(Figure("unchanged: files written", len(changed), 0, "", note=" ".join(changed[:3])))
    bench.report.add(Figure("unchanged: doit pull_image", run.seconds))


def incremental(bench: Bench) -> None:
    """Rebuild after a change of one small top layer, compared with copying the SIF and hashing it once."""
    bench.ensure_sif()
    target = bench.work / "changed.sif"
    packs = bench.work / "store-changed"
    runs: list[Run] = []
    copies: list[float] = []
    for _ in range(max(3, bench.scale.repeat)):
        _clone_store(bench.tool.store, packs)
        runs.append(type(bench.tool)(packs).pull(bench.layout_reference(CHANGED), target))
        copies.append(peers.copy_and_hash(target, bench.work / "copy.sif"))
    copy = sorted(copies)[len(copies) // 2]
    limit = FIXED_SECONDS + SECONDS_PER_ENTRY * bench.image.tree + COPY_FACTOR * copy
    note = f"cp + sync + SHA-256 {copy:.2f} s, {bench.image.tree} entries"
    bench.report.add(Figure("one small top layer changed", median(runs), limit, note=note))
    for path in (target, bench.work / "copy.sif"):
        path.unlink(missing_ok=True)
    shutil.rmtree(packs, ignore_errors=True)


def _clone_store(source: Path, target: Path) -> None:
    """Copy a store with hard links, so that the changed layer is new to each copy."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=os.link)


def memory(bench: Bench) -> None:
    """Peak anonymous memory for an image with ten times the bytes in a few large files."""
    big = image.few_large_files(bench.work, bench.scale)
    bench.tool.forget()
    target = bench.work / "big.sif"
    run = bench.tool.pull(f"oci:{big.layout}:{FIRST}", target)
    _memory(bench, f"peak anonymous memory, {big.plain / 1e9:.1f} GB", [run], big.entries)
    bench.report.add(Figure(f"first pull, {big.plain / 1e9:.1f} GB in {big.entries} files", run.seconds))
    target.unlink()
    bench.tool.forget()
    bench.pulled = False


def size(bench: Bench) -> None:
    """Size of the SIF, compared with mksquashfs at its default, gzip level 9."""
    if not peers.available("umoci", "mksquashfs"):
        bench.report.skip("size of the SIF", "umoci or mksquashfs is missing")
        return
    ours, theirs = bench.ensure_sif().stat().st_size, bench.ensure_squashed().stat().st_size
    note = f"{ours / 1e6:.1f} MB, mksquashfs level 9 {theirs / 1e6:.1f} MB"
    bench.report.add(Figure("size of the SIF against mksquashfs", ours / theirs, SIZE_FACTOR, "x", note=note))


def read_back(bench: Bench) -> None:
    """Time of reading the mounted image with tar from a cold cache, compared with mksquashfs's image."""
    if not readback.possible() or not peers.available("umoci", "mksquashfs"):
        bench.report.skip("reading back", "needs root, drop_caches, umoci and mksquashfs")
        return
    sif = bench.ensure_sif()
    images = {"ours": (sif, readback.partition_offset(sif)), "theirs": (bench.ensure_squashed(), 0)}
    seconds = readback.compare(images, bench.work / "mnt", bench.scale.readings)
    note = f"{seconds['ours']:.2f} s, mksquashfs's {seconds['theirs']:.2f} s"
    ratio = seconds["ours"] / seconds["theirs"]
    bench.report.add(Figure("reading back against mksquashfs's image", ratio, READ_FACTOR, "x", note=note))


def start_up(bench: Bench) -> None:
    """Time of ``sifmake --help``."""
    bench.report.add(Figure("sifmake --help", median([bench.tool.help() for _ in range(11)]), HELP_SECONDS))


def exec_start(bench: Bench) -> None:
    """Start-up of ``sifmake exec`` on a SIF file, compared with bwrap and squashfuse by hand."""
    if not peers.available("bwrap", "squashfuse", "fusermount"):
        bench.report.skip("exec", "bwrap, squashfuse or fusermount is missing")
        return
    sif = bench.work / "programs.sif"
    bench.tool.pull(f"oci:{image.programs(bench.work).layout}:{FIRST}", sif)
    for command, limit in EXEC_COMMANDS.items():
        seconds = startup.compare(bench.tool.script(), sif, command.split(), EXEC_RUNS * bench.scale.repeat)
        note = ", ".join(f"{name} {value * 1e3:.0f} ms" for name, value in seconds.items())
        ratio = seconds[startup.OURS] / seconds[startup.HAND]
        bench.report.add(Figure(f"exec {command}, against doing it by hand", ratio, limit, "x", note=note))


def up_to_date(bench: Bench) -> None:
    """Time of ``doit pull_image`` with a hundred unchanged images."""
    layout = bench.work / "hello"
    shutil.rmtree(layout, ignore_errors=True)
    shutil.copytree(Path(__file__).parents[1] / "examples" / "hello" / "layout", layout)
    names = {f"hello{number}": f"oci:{layout}:latest" for number in range(DOIT_IMAGES)}
    project = make_project(bench.work / "project", names)
    first = bench.tool.doit(project, "pull_image")
    runs = [bench.tool.doit(project, "pull_image") for _ in range(max(3, bench.scale.repeat))]
    note = f"first build of all {first.seconds:.1f} s"
    bench.report.add(Figure(f"doit pull_image, {DOIT_IMAGES} images up to date", median(runs), DOIT_SECONDS, note=note))


def _against_floor(bench: Bench, name: str, runs: list[Run], factor: float) -> None:
    floors = bench.floors[-len(runs) :]
    floor, seconds = median(floors), median(runs)
    cpu, floor_cpu = (median(some, lambda run: run.cpu) for some in (runs, floors))
    note = f"floor {floor:.2f} s; CPU {cpu:.1f} s, floor {floor_cpu:.1f} s"
    bench.report.add(Figure(name, seconds, note=note))
    bench.report.add(Figure(f"{name}, against the floor", seconds / floor, factor, "x", note=f"floor {floor:.2f} s"))


def _memory(bench: Bench, name: str, runs: list[Run], entries: int) -> None:
    limit = (FIXED_MEMORY + MEMORY_PER_ENTRY * entries) / MIB
    peak = max(run.anonymous for run in runs) / MIB
    bench.report.add(Figure(name, peak, limit, "MiB", note=f"{entries} entries"))


CHECKS: dict[str, Callable[[Bench], None]] = {
    "first": first_pull,
    "fast": fast_pull,
    "layer": one_layer,
    "registry": registry_pull,
    "first-command": first_command,
    "incremental": incremental,
    "size": size,
    "readback": read_back,
    "memory": memory,
    "help": start_up,
    "exec": exec_start,
    "doit": up_to_date,
    "many": many_images,
    "definition": definition,
    "update": sif_update,
    "shared": shared_blocks,
    "packs": remote_packs,
}
"""Names for ``--only``, in the order of the table."""
