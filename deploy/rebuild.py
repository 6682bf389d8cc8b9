"""One scheduled rebuild: refresh the locks, build what they say, keep a log of digests, tell someone.

    flock is not needed: a second run ends at once with status 75.

Status: 0 all is well; 1 a lock or an image failed; 75 another rebuild is running.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.cli.console import Console
from sifmake.files import write_atomic
from sifmake.pipeline.locking import CHANGED, LockRefresher, summarize
from sifmake.pipeline.project import Modes, Project

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY = 75
"""EX_TEMPFAIL of sysexits.h."""
LOG = "results/digests.jsonl"
SUMMARY = "results/summary.json"


def main() -> int:
    """Run one rebuild."""
    parser = argparse.ArgumentParser(description="Refresh locks, build, log digests, notify.")
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the project")
    parser.add_argument("--jobs", type=int, default=2, help="images built at the same time")
    parser.add_argument("--no-lock", action="store_true", help="build what the committed locks say")
    args = parser.parse_args()
    project = Project(args.root, Modes(locked=args.no_lock), Console())
    with run_lock(args.root / "results" / ".rebuild.lock") as held:
        return rebuild(project, args.jobs) if held else BUSY


@contextmanager
def run_lock(path: Path) -> Iterator[bool]:
    """Hold the run lock; yield False when another run has it. The kernel drops it with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def rebuild(project: Project, jobs: int) -> int:
    """Refresh, build, log and notify."""
    images = [] if project.modes.locked else refresh(project)
    status = build(project.root, jobs)
    changed = [image for image in images if image["state"] == CHANGED]
    failed = [image for image in images if image["state"] == "failed"]
    summary = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "built": status == 0, "images": images}
    write_atomic(project.root / SUMMARY, json.dumps(summary, indent=2).encode())
    append_log(project.root / LOG, summary["time"], changed)
    if (changed or failed or status) and project.configuration.notify:
        text = json.dumps(summary)
        subprocess.run(project.configuration.notify, input=text, text=True, check=False, cwd=project.root)
    return 1 if failed or status else 0


def refresh(project: Project) -> list[dict[str, Any]]:
    """Refresh all locks and return what became of each."""
    outcomes = list(LockRefresher(project).refresh_all(list(project.images)))
    for outcome in outcomes:
        if outcome.error is not None:
            project.progress.warning(f"{outcome.name}: {outcome.error}")
    project.progress.info(summarize(outcomes))
    return [outcome.document() for outcome in outcomes]


def build(root: Path, jobs: int) -> int:
    """Build what the locks say; nothing that only this machine trusts is published."""
    dodo = Path(__file__).parents[1] / "dodo.py"
    command = [sys.executable, "-m", "doit", "run", "-f", str(dodo), "-d", str(root), "-n", str(jobs)]
    environ = {**os.environ, "SIFMAKE_LOCKED": "1", "SIFMAKE_REFUSE_DEVELOPMENT": "1"}
    return subprocess.run([*command, "pull_image"], env=environ, check=False).returncode


def append_log(path: Path, time: str, changed: list[dict[str, Any]]) -> None:
    """Add a line for each image whose digest changed."""
    keys = ("name", "image", "old", "new", "what")
    with path.open("a") as file:
        file.writelines(json.dumps({"time": time, **{key: image[key] for key in keys}}) + "\n" for image in changed)


if __name__ == "__main__":
    sys.exit(main())
