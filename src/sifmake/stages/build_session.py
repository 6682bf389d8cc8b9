"""Data that the stages of one image share within a process, so that nothing is read twice."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sifmake.builder.builder import project_builder
from sifmake.builder.image_packs import ImagePacks
from sifmake.builder.lazy_source import LazySource
from sifmake.builder.lock_proof import LockProof
from sifmake.builder.provenance import source_origin
from sifmake.errors import FlattenError
from sifmake.places import results_place
from sifmake.project.records import read_record
from sifmake.project.stage_table import TREE, UNSIGNED
from sifmake.stages.freshness import why_stale

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.assembly.image import SifSummary
    from sifmake.errors import SifmakeError
    from sifmake.flatten.flattened import Flattened
    from sifmake.layers.pack_reader import Pack
    from sifmake.oci.model import Image
    from sifmake.progress import Progress, Task
    from sifmake.project.locks import Lock
    from sifmake.project.project import Project


class LateTasks:
    """A progress whose tasks appear only when they advance."""

    def __init__(self, progress: Progress) -> None:
        self.info = progress.info
        self.warning = progress.warning
        self._progress = progress

    def task(self, label: str, total: int | None = None) -> Task:
        """Return a task that starts with its first advance."""
        return _LateTask(self._progress, label, total)


class _LateTask:
    def __init__(self, progress: Progress, label: str, total: int | None) -> None:
        self._begin = partial(progress.task, label, total)
        self._task: Task | None = None

    def advance(self, amount: int) -> None:
        self._task = self._task or self._begin()
        self._task.advance(amount)

    def finish(self, note: str = "") -> None:
        if self._task is not None:
            self._task.finish(note)


class BuildSession:
    """One image being built from its lock.

    Attributes:
        name: The image's name.
        lock: Its lock.
    """

    def __init__(self, project: Project, name: str, lock: Lock) -> None:
        self.name = name
        self.lock = lock
        self._project = project
        self._builder = project_builder(project)
        compression, uri = lock.build.compression, lock.source
        self._source = LazySource(lock.name, lambda: self._builder.open_source(uri, compression))
        # Report only layers that are fetched.
        late = LateTasks(project.progress)
        self._packs = ImagePacks(
            self._builder, self._source, self._proven, compression, late, (results_place(project.path(UNSIGNED, name)),)
        )
        self._flattened: Flattened | None = None

    @property
    def image(self) -> Image:
        """Manifest and config by digest, from the store or the source, once the lock is proven."""
        return self._packs.image

    def fetch(self, progress: Progress) -> list[Pack]:
        """Return the packs of the layers and report each, including those in the store."""
        return self._packs.fetch(progress)

    def foreign(self) -> dict[str, list[str]]:
        """Return the packs of another encoder as records name them; nothing if there are none."""
        keys = self._packs.foreign()
        return {"foreign": keys} if keys else {}

    def flatten(self, path: Path) -> Flattened:
        """Merge the packs again and write the tree file."""
        self._flattened = self._packs.flatten(path)
        return self._flattened

    def take_flattened(self) -> Flattened:
        """Return the tree and give it away: from memory, else from its file, else merged again."""
        flattened, self._flattened = self._flattened, None
        return flattened or self._load_tree() or self._packs.flatten()

    def write_sif(self, flattened: Flattened) -> SifSummary:
        """Write the unsigned SIF."""
        target = self._project.path(UNSIGNED, self.name)
        return self._packs.write_sif(target, flattened, source_origin(self.lock), self.lock.build.labels)

    def drop_damaged(self, error: SifmakeError) -> bool:
        """After an error, remove damaged packs and the tree made from them; return whether there were any.

        If so, the session is closed.
        """
        damaged = self._packs.drop_damaged(error)
        if damaged:
            self._project.path(TREE, self.name).unlink(missing_ok=True)
            self.close()
        return damaged

    def close(self) -> None:
        """Close packs and source, and drop the tree."""
        self._flattened = None
        self._packs.close()
        self._source.close()

    def _proven(self) -> Image:
        proof = LockProof(self._project, self.name, self.lock)
        proof.prove(self._source)
        image = self._builder.load_image(self._source, self.lock.manifest)
        proof.check_image(image)
        return image

    def _load_tree(self) -> Flattened | None:
        from sifmake.flatten.flattened import load

        record = read_record(self._project.record("flatten", self.name))
        if record is None or why_stale(self._project, "flatten", self.name, self.lock):
            return None
        try:
            flattened = load(self._project.path(TREE, self.name), self._packs.packs)
        except (FileNotFoundError, FlattenError):
            return None
        return flattened if flattened.digest == record["result"]["tree"] else None
