"""Start-up of ``sifmake exec`` on a SIF file, compared with bwrap and squashfuse by hand and with the peers, in turns.

By hand means a shell script as a person writes it: a mount point, squashfuse at the partition's offset, bwrap with the
mounts that ``sifmake`` makes too (except the home directory, because the image has no mount point for it), then
unmounting. All ways run the same command of the image.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.peers import available
from sifmake.runtime.image import open_image

if TYPE_CHECKING:
    from pathlib import Path

BY_HAND = """#!/bin/sh -e
point=$(mktemp -d)
squashfuse -o "ro,offset=$1" "$2" "$point"
shift 2
bwrap --ro-bind "$point" / --dev-bind /dev /dev --bind /proc /proc --bind /sys /sys --bind /tmp /tmp \\
    --bind /var/tmp /var/tmp --ro-bind /etc/hosts /etc/hosts --ro-bind /etc/resolv.conf /etc/resolv.conf \\
    --chdir /tmp "$@"
fusermount -u "$point"
rmdir "$point"
"""
OURS, HAND, PYTHON = "sifmake", "by hand", "python -c pass"
PEERS = ("apptainer", "singularity")


def compare(script: str, sif: Path, command: list[str], runs: int) -> dict[str, float]:
    """Run a command of an image in every way, in turns.

    Args:
        script: The program ``sifmake``.
        sif: The image; the script that does it by hand is written to its folder.
        command: The program and its arguments.
        runs: How often each; the median counts.

    Returns:
        Seconds of :data:`OURS`, :data:`HAND`, :data:`PYTHON` (Python's own start) and those of :data:`PEERS` that are
        installed and can run it.
    """
    hand = sif.with_name("by-hand")
    hand.write_text(BY_HAND)
    hand.chmod(0o755)
    ways = {
        HAND: [str(hand), str(open_image(str(sif)).offset), str(sif), *command],
        OURS: [script, "exec", "--runtime", "builtin", str(sif), *command],
        PYTHON: [sys.executable, "-c", "pass"],
    }
    ways |= {name: [name, "exec", str(sif), *command] for name in PEERS if available(name)}
    return {name: statistics.median(seconds) for name, seconds in _take_turns(ways, runs).items()}


def _take_turns(ways: dict[str, list[str]], runs: int) -> dict[str, list[float]]:
    """Return the seconds of each run except the first, because that may compile or read from the disk."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    able = {name: way for name, way in ways.items() if _seconds(way, env, check=name not in PEERS) is not None}
    times: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(runs):
        for name, way in able.items():
            times[name].append(_seconds(way, env, check=True) or 0.0)
    return times


def _seconds(way: list[str], env: dict[str, str], *, check: bool) -> float | None:
    """Run a command once and return the seconds that it took, or None if it failed."""
    start = time.perf_counter()
    result = subprocess.run(
        way, env=env, cwd="/tmp", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if result.returncode and check:
        raise SystemExit(f"{' '.join(way)} ended with {result.returncode}: {result.stderr}")
    return None if result.returncode else seconds
