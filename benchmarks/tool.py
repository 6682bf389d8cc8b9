"""Calling sifmake as a user does, with a separate store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Run, run

COMMAND = [sys.executable, "-m", "sifmake"]


@dataclass(frozen=True)
class Tool:
    """The sifmake command with the folder of a store.

    Attributes:
        store: ``$SIFMAKE_CACHE``.
    """

    store: Path

    @property
    def environ(self) -> dict[str, str]:
        """Return the environment of its runs, without ``CI``, which would forbid requests to registries."""
        names = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("SIFMAKE_")}
        return {**names, "SIFMAKE_CACHE": str(self.store)}

    def forget(self) -> None:
        """Empty the store."""
        shutil.rmtree(self.store, ignore_errors=True)
        os.sync()

    def pull(self, reference: str, target: Path, *options: str) -> Run:
        """Pull a reference into a new unsigned SIF file."""
        target.unlink(missing_ok=True)
        # Nobody's earlier writes and deletions are to be paid for by this run.
        os.sync()
        # In a folder without a configuration: with this repository's, the image would be signed and verified too.
        return run([*COMMAND, "pull", *options, target, reference], self.environ, target.parent)

    def help(self) -> Run:
        """Run ``sifmake --help``."""
        return run([self.script(), "--help"], self.environ)

    def script(self) -> str:
        """Return the command installed beside this Python, or else the one on the path."""
        beside = Path(sys.executable).with_name("sifmake")
        return str(beside) if beside.exists() else shutil.which("sifmake") or "sifmake"

    def lock(self, project: Path) -> Run:
        """Refresh the locks of a project."""
        return run([*COMMAND, "lock", "-q"], self.environ, project)

    def doit(self, project: Path, *arguments: str) -> Run:
        """Run doit in a project."""
        return run([sys.executable, "-m", "doit", *arguments], self.environ, project)


def make_project(folder: Path, images: dict[str, str]) -> Path:
    """Make a project with this repository's dodo.py that builds these images (names to references)."""
    repository = Path(__file__).parents[1]
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "config").mkdir(parents=True)
    shutil.copy(repository / "dodo.py", folder)
    lines = [f"  {name}:\n    from: {reference}" for name, reference in images.items()]
    (folder / "config" / "images.yaml").write_text("\n".join(["images:", *lines]) + "\n")
    return folder


def snapshot(*folders: Path) -> dict[str, tuple[int, int]]:
    """Return inode and change time of all files except logs and doit's database."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and ".doit.db" not in path.name and "logs" not in path.parts and path.suffix != ".pyc":
                status = path.stat()
                found[str(path)] = (status.st_ino, status.st_mtime_ns)
    return found


def is_installed() -> bool:
    """Return whether ``sifmake pull`` exists."""
    return subprocess.run([*COMMAND, "pull", "--help"], capture_output=True, check=False).returncode == 0
