"""``python -m tests.fuzz [TARGET...]``: fuzz each target for some time, one after another; see README.md."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
from math import inf
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

NAMES = (
    "sif",
    "tar",
    "packs",
    "squashfs",
    "json",
    "yaml",
    "signatures",
    "packets",
    "recipes",
    "remotes",
    "words",
    "definitions",
    "archives",
    "texts",
)


def main() -> int:
    """Fuzz, print a line for each target and each fault; the status is 1 if there were faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Give sifmake what strangers might.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--seconds", type=float, default=600, help="for each target (default: 600)")
    parser.add_argument("--inputs", type=float, default=inf, help="for each target (default: as many as time allows)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: 0)")
    parser.add_argument("--faults", type=Path, default=Path("fuzz-faults"), help="folder for inputs that are faults")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE", help="run these inputs only")
    parser.add_argument("--atheris", action="store_true", help="use libFuzzer, where atheris is installed")
    args = parser.parse_args()
    if unknown := set(args.targets) - set(NAMES):
        parser.error(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    folder = Path(tempfile.mkdtemp(prefix="sifmake-fuzz-home-"))
    os.environ |= {"HOME": str(folder), "SIFMAKE_CACHE": str(folder / "cache"), "TMPDIR": str(folder)}
    tempfile.tempdir = str(folder)
    args.faults, args.replay = args.faults.resolve(), [path.resolve() for path in args.replay or ()]
    os.chdir(folder)  # where no project is: seeds are built without its settings
    try:
        return run(args)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say."""
    if args.atheris:
        return with_atheris(args)
    from fuzz.engine import MEMORY, Fuzzer, attempt
    from fuzz.targets import TARGETS

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.RLIM_INFINITY))
    faults: list[str] = []
    for name in args.targets or NAMES:
        target = TARGETS[name]
        if args.replay:
            for path in args.replay:
                where, what = attempt(target, path.read_bytes())
                say(f"{path}: {what or 'no fault'}")
                faults += [where] if where else []
            continue
        report = Fuzzer(target, args.faults, args.seed).run(args.seconds, args.inputs)
        say(
            f"{name}: {report.runs} inputs, {report.lines} lines, {report.kept} kept, slowest {report.slowest:.2f} s, "
            f"{len(report.faults)} faults"
        )
        for where, what in report.faults.items():
            say(f"  FAULT {where}\n{what}")
        faults += report.faults
    return 1 if faults else 0


def say(text: str) -> None:
    """Print a line immediately."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def with_atheris(args: argparse.Namespace) -> int:
    """Hand one target over to libFuzzer, which ends the process itself."""
    import atheris

    with atheris.instrument_imports(include=["sifmake"]):
        from fuzz.engine import attempt
        from fuzz.targets import TARGETS
    (name,) = args.targets
    corpus = args.faults / f"corpus-{name}"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(TARGETS[name].seeds()):
        (corpus / f"seed-{number}").write_bytes(data)

    def one(data: bytes) -> None:
        where, what = attempt(TARGETS[name], data)
        if where:
            raise RuntimeError(f"{where}\n{what}")

    options = [f"-max_total_time={args.seconds:.0f}", "-timeout=30", f"-artifact_prefix={args.faults}/"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
