"""Cost of signing and verifying a large SIF file, compared with one SHA-256 pass over it.

    python benchmarks/sign_verify.py [--size MIB] [--folder FOLDER]

Each step runs in its own process, so that peak memory is the step's own; the median of five is printed. The limits are
1.2 times the pass, and 100 MiB.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from sifmake.sif import PARTITION_ALIGNMENT, DataType, FsType, NewObject, PartType, partition_extra, plan

RUNS = 5
MIB = 1 << 20
PRELUDE = """
import hashlib, re, sys, time
from pathlib import Path
from sifmake.signing import Passphrase, TrustStore, load_signer, sign_file, verify_file
from sifmake.signing import pem  # loaded before the clock starts
file, secret, public = map(Path, sys.argv[1:])
signer, trust = load_signer(str(secret), Passphrase()), TrustStore.load([public])
start = time.perf_counter()
"""
STEPS = {
    "hashlib": "hashlib.file_digest(file.open('rb'), 'sha256')",
    "sign": "sign_file(file, file, signer)",
    "verify": "assert verify_file(file, trust).exit_code == 0",
}
REPORT = """
print(time.perf_counter() - start, re.search("VmHWM:[^0-9]+([0-9]+)", Path("/proc/self/status").read_text())[1])
"""


def make_sif(path: Path, size: int) -> int:
    """Write an unsigned SIF with a partition of ``size`` bytes; return the size of the file."""
    extra = partition_extra(FsType.SQUASHFS, PartType.PRIMARY_SYSTEM, "amd64")
    item = NewObject(DataType.PARTITION, size, alignment=PARTITION_ALIGNMENT, extra=extra)
    layout = plan([item], arch="amd64")
    noise = random.Random(0).randbytes(MIB)
    with path.open("wb") as file:
        file.write(layout.head)
        file.seek(layout.offsets[0])
        for _ in range(size // MIB):
            file.write(noise)
        file.flush()
        os.fsync(file.fileno())
    return layout.size


def measure(step: str, arguments: list[str]) -> tuple[float, float]:
    """Run one step; return seconds and peak memory in MiB."""
    script = PRELUDE + STEPS[step] + REPORT
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    seconds, kib = done.stdout.split()
    return float(seconds), int(kib) / 1024


def main() -> int:
    """Print the table; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, metavar="MIB")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where the file is made")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        results = run(Path(folder), args.size * MIB)
    floor = results["hashlib"][0]
    good = True
    for step, (seconds, memory) in results.items():
        print(f"{step:<8} {seconds:6.3f} s  {seconds / floor:5.2f} x  {memory:6.1f} MiB")
        good &= seconds <= 1.2 * floor and memory < 100
    return 0 if good else 1


def run(folder: Path, size: int) -> dict[str, tuple[float, float]]:
    """Measure all steps on one file."""
    environment = os.environ | {"SIFMAKE_CONFIG_DIR": str(folder / "config")}
    subprocess.run([sys.executable, "-m", "sifmake", "-q", "key", "newpair", "bench"], check=True, env=environment)
    keys = folder / "config" / "keys"
    file = folder / "image.sif"
    unsigned = make_sif(file, size)
    with file.open("rb") as reader:
        head = reader.read(32176)
    arguments = [str(file), str(keys / "secret" / "bench.pem"), str(keys / "trusted" / "bench.pem")]
    measured: dict[str, list[tuple[float, float]]] = {step: [] for step in STEPS}
    for _ in range(RUNS):
        with file.open("r+b") as writer:
            writer.write(head)
            writer.truncate(unsigned)
        for step in STEPS:
            measured[step].append(measure(step, arguments))
    return {
        step: (statistics.median(seconds for seconds, _ in runs), max(memory for _, memory in runs))
        for step, runs in measured.items()
    }


if __name__ == "__main__":
    sys.exit(main())
