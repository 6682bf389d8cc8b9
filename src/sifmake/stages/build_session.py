"""What the stages of one image hand to each other inside one process, so that nothing is read twice."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING

from sifmake.builder import image_build
from sifmake.builder.image_cache import LazySource, load_image
from sifmake.builder.lock_proof import LockProof
from sifmake.builder.provenance import source_origin
from sifmake.errors import FlattenError
from sifmake.project.records import read_record
from sifmake.project.stage_table import TREE
from sifmake.stages.freshness import why_stale

if TYPE_CHECKING:
    from sifmake.assembly.image import SifSummary
    from sifmake.errors import SifmakeError
    from sifmake.flatten.flattened import Flattened
    from sifmake.layers.pack_reader import Pack
    from sifmake.oci.model import Image
    from sifmake.progress import Progress, Task
    from sifmake.project.lock_file import Lock
    from sifmake.project.project import Project


class _LateTasks:
    """A progress whose tasks show up when something is done for them."""

    def __init__(self, progress: Progress) -> None:
        self.info = progress.info
        self.warning = progress.warning
        self._progress = progress

    def task(self, label: str, total: int | None = None) -> Task:
        """Return a task that begins with its first advance."""
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
        self._source = LazySource(project, lock.source, lock.name, lock.build.compression)
        self._flattened: Flattened | None = None

    @cached_property
    def image(self) -> Image:
        """Manifest and config by digest, from the store or the source, once the lock is proven."""
        proof = LockProof(self._project, self.name, self.lock)
        proof.prove(self._source)
        image = load_image(self._project.store, self._source, self.lock.manifest)
        proof.check_image(image)
        return image

    @cached_property
    def packs(self) -> list[Pack]:
        """The layers' packs; those that the store lacks are fetched. Only what is fetched is told."""
        return self.fetch(_LateTasks(self._project.progress))

    def fetch(self, progress: Progress) -> list[Pack]:
        """Return the layers' packs and tell of each, also of those that the store has."""
        limits, compression = self._project.configuration.limits, self.lock.build.compression
        packs = image_build.fetch_packs(self._source, self.image, self._project.store, compression, limits, progress)
        vars(self)["packs"] = packs
        return packs

    def flatten(self) -> Flattened:
        """Merge the packs anew."""
        project = self._project
        limits = project.configuration.limits
        self._flattened = image_build.flatten_packs(self.packs, self.image, project.progress, limits)
        return self._flattened

    def take_flattened(self) -> Flattened:
        """Return the tree for the one who uses it up: from memory, else from its file, else merged anew."""
        flattened = self._flattened or self._load_tree() or self.flatten()
        self._flattened = None
        return flattened

    def write_sif(self, flattened: Flattened) -> SifSummary:
        """Write the unsigned SIF."""
        build = self.lock.build
        return image_build.write_sif(
            self._project.path("results/{image}/unsigned.sif", self.name),
            flattened,
            self.packs,
            self.image,
            source_origin(self.lock),
            image_build.BuildSettings(build.compression, build.labels),
            self._project.progress,
            self._project.store,
        )

    def drop_damaged(self, error: SifmakeError) -> bool:
        """Take damaged packs out of the store after an error, and the tree that came of them; return whether any were.

        See :func:`~sifmake.builder.image_build.drop_damaged`.
        """
        damaged = image_build.drop_damaged(self.packs, self._project.store, error)
        if damaged:
            self._project.path(TREE, self.name).unlink(missing_ok=True)
        return damaged

    def close(self) -> None:
        """Close packs and source."""
        image_build.close_packs(vars(self).pop("packs", []))
        self._source.close()

    def _load_tree(self) -> Flattened | None:
        from sifmake.flatten.flattened import load

        record = read_record(self._project.record("flatten", self.name))
        if record is None or why_stale(self._project, "flatten", self.name, self.lock):
            return None
        try:
            flattened = load(self._project.path(TREE, self.name), self.packs)
        except (FileNotFoundError, FlattenError):
            return None
        return flattened if flattened.digest == record["result"]["tree"] else None
