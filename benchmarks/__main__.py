"""``python -m benchmarks``: measure everything in one run, print the table, fail if a limit is exceeded."""

from __future__ import annotations

import argparse
import fcntl
import inspect
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import checks, image
from benchmarks.bench import Bench
from benchmarks.report import Report, machine
from benchmarks.scale import FULL, QUICK, Scale

DEFAULT_JSON = Path(__file__).parents[1] / ".benchmarks" / "latest.json"


def main() -> int:
    """Run the chosen checks and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small images: shows that everything runs, not how fast")
    parser.add_argument("--only", nargs="+", metavar="CHECK", choices=list(checks.CHECKS), help="some checks only")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "sifmake-bench",
        help="folder for images and results; the images are kept (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, default=DEFAULT_JSON, help="where figures are written")
    args = parser.parse_args()
    scale = QUICK if args.quick else FULL
    work = args.work.absolute() / scale.name
    work.mkdir(parents=True, exist_ok=True)
    with (work / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            parser.error(f"another run measures in {work}; wait for it or name another folder with --work")
        return measure(args, scale, work)


def measure(args: argparse.Namespace, scale: Scale, work: Path) -> int:
    """Run the chosen checks in a folder and return the exit status."""
    print("images ...", flush=True)
    report = Report()
    bench = Bench(scale, work, image.layered(work, scale), report)
    for name in args.only or checks.CHECKS:
        check = checks.CHECKS[name]
        print(f"\n{name}: {inspect.getdoc(check)}", flush=True)
        try:
            check(bench)
        except SystemExit as error:
            report.fail(name, str(error))
    report.write(args.json, {"scale": asdict(scale), "image": {**asdict(bench.image), "layout": ""}})
    print(f"\n{', '.join(f'{key} {value}' for key, value in machine().items())}\n\n{report.table()}")
    return int(bool(report.broken) if args.quick else report.failed)


if __name__ == "__main__":
    sys.exit(main())
