"""A project whose images are built from definitions on a small busybox."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sifmake.project.project import Modes, Project
from sifmake.project.stage_table import STAGE_NAMES
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from support.corpus import CORPUS

if TYPE_CHECKING:
    from pathlib import Path

_BASE = CORPUS / "definition/base"


@dataclass
class Told:
    """What a run said.

    Attributes:
        lines: Messages and warnings.
    """

    lines: list[str] = field(default_factory=list)

    def info(self, text: str) -> None:
        self.lines.append(text)

    warning = info

    def task(self, *_: object) -> Told:
        return self

    def advance(self, amount: int) -> None:
        """Ignore progress."""

    def finish(self, note: str = "") -> None:
        """Ignore progress."""


class Definitions:
    """The project.

    Attributes:
        root: Its folder.
        images: ``images:`` of images.yaml.
        told: What the last run said.
    """

    def __init__(self, root: Path, **config: Any) -> None:
        self.root = root
        self.images: dict[str, Any] = {}
        self.told = Told()
        (root / "config").mkdir(parents=True)
        (root / "sifmake.yaml").write_text(json.dumps({"store": {"path": str(root.parent / "store")}, **config}))

    def with_busybox(self) -> Definitions:
        """Put the layout ``base`` into the folder."""
        shutil.copytree(_BASE, self.root / "base", copy_function=shutil.copyfile)
        return self

    def define(self, name: str, sections: str, header: str = "Bootstrap: oci\nFrom: base", **settings: Any) -> Path:
        """Write a definition and declare its image; return the file."""
        path = self.root / f"{name}.def"
        path.write_text(f"{header}\n\n{sections}\n")
        self.declare(name, f"./{name}.def", **settings)
        return path

    def declare(self, name: str, source: str, **settings: Any) -> None:
        """Declare an image."""
        self.images[name] = {"from": source, **settings}
        (self.root / "config/images.yaml").write_text(json.dumps({"images": self.images}))

    def open(self, **modes: Any) -> Project:
        self.told = Told()
        return Project(self.root, Modes(**modes), self.told)

    def lock(self, *names: str, **modes: Any) -> dict[str, str]:
        """Refresh locks; return what changed, or the error, by image."""
        project = self.open(**modes)
        found = LockRefresher(project).refresh_all(names or list(project.images))
        return {one.name: str(one.error or one.what) for one in found}

    def build(self, *names: str, stages: tuple[str, ...] = STAGE_NAMES, **modes: Any) -> list[str]:
        """Run stages of images with one runner; return those that had work, as ``STAGE`` or ``STAGE:IMAGE``."""
        ran = []
        project = self.open(**modes)
        with open_runner(project) as runner:
            for name in names or list(project.images):
                found = [stage for stage in stages if runner.run(stage, name)]
                ran += found if len(names) == 1 else [f"{stage}:{name}" for stage in found]
        return ran

    @property
    def scripts(self) -> list[str]:
        """The first lines of the steps that the last run ran."""
        return [line.removeprefix("running: ") for line in self.told.lines if line.startswith("running: ")]

    def sif(self, name: str) -> bytes:
        return (self.root / "images" / f"{name}.sif").read_bytes()

    def lock_text(self, name: str) -> str:
        return (self.root / "config/locks" / f"{name}.yaml").read_text()
