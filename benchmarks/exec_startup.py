"""Start-up of ``sifmake exec`` on a SIF file against bwrap and squashfuse by hand, taken in turns in one run.

By hand means a shell script as a person writes it: a mount point, squashfuse at the partition's offset, bwrap with the
mounts that ``sifmake`` makes too, then unmounting. Both run the same command of the image.

    python benchmarks/exec_startup.py [--runs N] [--limit RATIO] IMAGE.sif [COMMAND...]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sifmake.runtime.image import open_image

BY_HAND = """#!/bin/sh -e
point=$(mktemp -d)
squashfuse -o "ro,offset=$1" "$2" "$point"
shift 2
bwrap --ro-bind "$point" / --dev-bind /dev /dev --bind /proc /proc --bind /sys /sys --bind /tmp /tmp \\
    --bind /var/tmp /var/tmp --bind "$HOME" "$HOME" --ro-bind /etc/hosts /etc/hosts \\
    --ro-bind /etc/resolv.conf /etc/resolv.conf --chdir /tmp "$@"
fusermount -u "$point"
rmdir "$point"
"""
LIMIT = 1.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("image", type=Path, help="SIF file")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what is run in it, /bin/true if nothing is named")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--limit", type=float, default=LIMIT, help="largest ratio of medians for status 0")
    parser.add_argument("--sifmake", default="", help="the program, if not the one beside this Python")
    args = parser.parse_args()
    image = str(args.image.resolve())
    command = args.command or ["/bin/true"]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "by-hand")
        script.write_text(BY_HAND)
        script.chmod(0o755)
        offset = str(open_image(image).offset)
        hand = [str(script), offset, image, *command]
        sifmake = args.sifmake or str(Path(sys.executable).with_name("sifmake"))
        ours = [sifmake, "exec", "--runtime", "builtin", image, *command]
        python = [sys.executable, "-c", "pass"]
        times = measure({"by hand": hand, "sifmake exec": ours, "python -c pass": python}, args.runs)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(f"{name:16s} median {medians[name] * 1e3:6.1f} ms   least {min(values) * 1e3:6.1f} ms")
    ratio = medians["sifmake exec"] / medians["by hand"]
    print(f"ratio            median {ratio:6.2f}      least {min(times['sifmake exec']) / min(times['by hand']):6.2f}")
    return int(ratio > args.limit)


def measure(commands: dict[str, list[str]], runs: int) -> dict[str, list[float]]:
    """Return the seconds of each run; the first of each is not counted, for it may compile or read from disk."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, env=env, cwd="/tmp", stdin=subprocess.DEVNULL, check=True)
            if number:
                times[name].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    sys.exit(main())
