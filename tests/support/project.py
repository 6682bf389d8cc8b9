"""A sifmake project in a folder, driven as users drive it: doit, snakemake and sifmake as programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.loaded_snakemake import run_snakemake

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DOIT = ("doit", "-f", str(REPOSITORY / "dodo.py"), "-d", ".")
SNAKEMAKE = (
    *("snakemake", "-s", str(REPOSITORY / "workflow" / "Snakefile")),
    *("--profile", str(REPOSITORY / "profiles" / "default"), "-j", "2"),
)


@dataclass
class Folder:
    """A project under test with its own store and keys.

    Attributes:
        root: The project.
        home: Store, keys and similar files.
        config: Content of sifmake.yaml.
        images: ``images:`` of images.yaml.
        environ: More variables for the programs.
    """

    root: Path
    home: Path
    config: dict[str, Any] = field(default_factory=lambda: {"key": "development"})
    images: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)

    def write(self) -> None:
        """Write the configuration; JSON is YAML."""
        folder = self.root / "config"
        folder.mkdir(parents=True, exist_ok=True)
        (self.root / "sifmake.yaml").write_text(json.dumps(self.config, indent=1))
        (folder / "images.yaml").write_text(json.dumps({"images": self.images}, indent=1))

    def variables(self) -> Mapping[str, str]:
        keep = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        own = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "SIFMAKE_CACHE": str(self.home / "store"),
            "SIFMAKE_CONFIG_DIR": str(self.home / "configuration"),
            "XDG_CACHE_HOME": str(self.home / "xdg"),
            "no_proxy": "*",
            "SLURM_CONF": "/dev/null",  # else Snakemake waits 12 s for a cluster that is installed and not running
        }
        return keep | own | self.environ

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        self.root.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [str(BIN / command[0]) if (BIN / command[0]).exists() else command[0], *command[1:]],
            cwd=self.root,
            env=self.variables(),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **options,
        )

    def run(self, *command: str, status: int | None = 0) -> str:
        """Run a command to its end and return what it printed; doit may fail with 1, or 2 when tasks had to wait."""
        if command[0] != "snakemake":
            return self.run_program(*command, status=status)
        self.root.mkdir(parents=True, exist_ok=True)
        code, text = run_snakemake(command[1:], self.root, self.variables())
        assert status is None or code == status, f"{command}: status {code}\n{text}"
        return text

    def run_program(self, *command: str, status: int | None = 0) -> str:
        """Run a command as :meth:`run`, also Snakemake as a program that has to load first."""
        process = self.start(*command)
        text, _ = process.communicate(timeout=170)
        code = min(process.returncode, 1) if command[0] == "doit" else process.returncode
        assert status is None or code == status, f"{command}: status {code}\n{text}"
        return text

    def doit(self, *arguments: str, status: int | None = 0) -> str:
        return self.run(*DOIT, *arguments, status=status)

    def snakemake(self, *arguments: str, status: int | None = 0) -> str:
        return self.run(*SNAKEMAKE, *arguments, status=status)

    def start_engine(self, engine: str, **options: Any) -> subprocess.Popen[str]:
        """Start a build and return its process."""
        return self.start(*(DOIT if engine == "doit" else SNAKEMAKE), **options)

    def build(self, engine: str, *arguments: str, status: int | None = 0) -> str:
        """Build all images with ``doit`` or ``snakemake``."""
        if engine == "doit":
            return self.doit("run", *arguments, "pull_image", status=status)
        return self.snakemake(*arguments, status=status)

    def target(self, name: str) -> Path:
        return self.root / "images" / f"{name}.sif"

    def record(self, stage: str, name: str) -> dict[str, Any]:
        return json.loads((self.root / "results" / name / f"{stage}.json").read_bytes())

    def lock_text(self, name: str) -> str:
        return (self.root / "config" / "locks" / f"{name}.yaml").read_text()

    def packs(self) -> set[str]:
        return {path.name for path in (self.home / "store" / "packs").rglob("*") if path.is_file()}

    def files(self) -> dict[str, tuple[int, int]]:
        """Return inode and time of change of all files of the project that a build may write."""
        parts = ("images", "results", "config")
        paths = [path for part in parts for path in (self.root / part).rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}
