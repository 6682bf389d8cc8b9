"""The cost of a child process for fetching and packing: the figures in docs/adr/0015-one-process.md.

    python -m benchmarks.one_process oci:LAYOUT:TAG [RUNS]

prints the median CPU seconds of a first pull that is signed afterwards: in one process, with a fork for all before the
signature, and with a fresh interpreter for it. The ways take turns; each run has an empty store. (The ADR's third way,
a signer that is forked first, costs the same fork with fewer pages and is not here.)
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_BEGIN = """
import os, subprocess, sys
from sifmake.cli.main import main
pull, sign = ["pull", "-q", "x.sif", sys.argv[1]], ["sign", "-q", "--key", "bench", "x.sif"]
"""
WAYS = {
    "one process": "status = main(pull)\n",
    "fork": "pid = os.fork()\nif not pid:\n    os._exit(main(pull))\n"
    "status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n",
    "fresh interpreter": "status = subprocess.call([sys.executable, '-m', 'sifmake', *pull])\n",
}
"""The name of each way, and its code up to the signature."""
_END = "sys.exit(status or main(sign))\n"


def measure(reference: str, runs: int) -> dict[str, float]:
    """Return the median CPU seconds of each way.

    Args:
        reference: What to pull; with an absolute path.
        runs: How often each.
    """
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(runs):
        for way, script in WAYS.items():
            seconds[way].append(_once(_BEGIN + script + _END, reference))
    return {way: statistics.median(each) for way, each in seconds.items()}


def _once(script: str, reference: str) -> float:
    with tempfile.TemporaryDirectory(prefix="sifmake-bench-") as folder:
        environ = {"PATH": os.environ["PATH"], "HOME": folder, "SIFMAKE_CACHE": str(Path(folder, "store"))}
        run = [sys.executable, "-m", "sifmake", "key", "newpair", "bench"]
        subprocess.run(run, cwd=folder, env=environ, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        before = _used()
        subprocess.run([sys.executable, "-c", script, reference], cwd=folder, env=environ, check=True)
        return _used() - before


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    medians = measure(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10)
    first = medians["one process"]
    for way, value in medians.items():
        sys.stdout.write(f"{way:18} {value:.3f} s ({value / first - 1:+.1%})\n")
