"""Refreshing locks: ask what tags mean now, and rewrite what has changed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sifmake.errors import LockError, SifmakeError
from sifmake.oci.platform import parse_platform
from sifmake.pipeline.finished_images import lock_finished
from sifmake.pipeline.image_cache import load_image, open_project_source
from sifmake.pipeline.lock_file import Lock, LockedLayer, read_lock, write_lock
from sifmake.pipeline.stopping import Stoppable
from sifmake.reference.uri import is_sif_uri
from sifmake.sources.base import name_mark
from sifmake.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.oci.model import Platform
    from sifmake.pipeline.images import ImageSettings
    from sifmake.pipeline.project import Project
    from sifmake.progress import Progress
    from sifmake.sources.base import KnownIndexes

UNCHANGED, CHANGED, FAILED = "unchanged", "changed", "failed"

_PINNED = re.compile(r"@(sha(?:256|512):[0-9a-f]+)\Z")


@dataclass(frozen=True)
class Outcome:
    """What became of one image's lock.

    Attributes:
        name: The image.
        state: ``unchanged``, ``changed`` (written, or to be written when only checking) or ``failed``.
        file: The lock file.
        image: Reference without digest.
        old: Digest in the lock before; empty where there was none.
        new: Digest that the reference names now.
        what: What changed, in words.
        error: Why it failed.
    """

    name: str
    state: str
    file: str
    image: str = ""
    old: str = ""
    new: str = ""
    what: str = ""
    error: SifmakeError | None = None

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {**vars(self), "error": str(self.error) if self.error else ""}


class LockRefresher:
    """Refreshes locks of a project; each image is asked for once in a process.

    Attributes:
        project: The project.
        check: Whether nothing is written.
    """

    def __init__(self, project: Project, *, check: bool = False) -> None:
        self.project = project
        self.check = check
        self._outcomes: dict[str, Outcome] = {}
        self._progress = Stoppable(project.progress)

    def refresh(self, name: str) -> Outcome:
        """Refresh one lock; a failure is an outcome, not an exception."""
        if name not in self._outcomes:
            self._outcomes[name] = self._refresh(name)
        return self._outcomes[name]

    def refresh_all(self, names: Iterable[str]) -> Iterator[Outcome]:
        """Refresh many locks at the same time, bounded; yield the outcomes in order."""
        project = self.project
        _ = project.images, project.configuration, project.store  # read once, before the threads
        with Threads(project.configuration.parallel_requests) as threads:
            try:
                yield from threads.map(self.refresh, names)
            except BaseException:
                self._progress.stop()
                raise

    def _refresh(self, name: str) -> Outcome:
        path = self.project.lock_path(name)
        try:
            image = self.project.image(name)
            old, trouble = _read_old(self.project, name)
            new = _offline_lock(self.project, image, old, trouble) if self.project.modes.offline else None
            new = new or _asked_lock(self.project, image, old, self._progress)
            return self._settle(image, old, new, trouble)
        except SifmakeError as error:
            return Outcome(name, FAILED, str(path), error=error)

    def _settle(self, image: ImageSettings, old: Lock | None, new: Lock, trouble: str) -> Outcome:
        path = self.project.lock_path(image.name)
        before = old.digest if old else ""
        if old == new:
            return Outcome(image.name, UNCHANGED, str(path), new.name, before, new.digest)
        if not self.check:
            write_lock(path, new)
        return Outcome(image.name, CHANGED, str(path), new.name, before, new.digest, _what(old, new, trouble))


class KnownFromLock:
    """What the lock and the store know of an index, so that a fresh store asks no more than an old one."""

    def __init__(self, lock: Lock | None, known: KnownIndexes) -> None:
        self._lock = lock
        self._known = known

    def find_manifest(self, index_digest: str, platform: Platform) -> str | None:
        """Return the manifest's digest from the lock, else from the store."""
        lock = self._lock
        if lock is not None and (lock.digest, lock.platform) == (index_digest, str(platform)):
            return lock.manifest
        if lock is not None and index_digest == name_mark(lock.name):
            return lock.digest
        return self._known.find_manifest(index_digest, platform)

    def remember_manifest(self, index_digest: str, platform: Platform, manifest_digest: str) -> None:
        """Keep it in the store."""
        self._known.remember_manifest(index_digest, platform, manifest_digest)


def _read_old(project: Project, name: str) -> tuple[Lock | None, str]:
    """Return the lock as it is, or why it cannot be used."""
    path = project.lock_path(name)
    if not path.exists():
        return None, "there was no lock"
    try:
        return read_lock(path, project.configuration.limits), ""
    except LockError as error:
        return None, error.what


def _offline_lock(project: Project, image: ImageSettings, old: Lock | None, trouble: str) -> Lock:
    where = str(project.lock_path(image.name))
    if old is None:
        raise LockError(f"{trouble}, and offline no registry is asked", where=where, hint="lock it without offline")
    if not _fits(old, image):
        what = f"is for {old.source} ({old.platform}), and offline no registry is asked"
        raise LockError(what, where=where, hint="lock it without offline")
    return old.with_build(project.wanted_build(image))


def _asked_lock(project: Project, image: ImageSettings, old: Lock | None, progress: Progress) -> Lock:
    """Return the lock as the source has it now; the old one where the platform's manifest is the same."""
    build = project.wanted_build(image)
    usable = old if old is not None and _fits(old, image) else None
    pinned = _PINNED.search(image.source)
    if usable and pinned and pinned[1] == usable.digest:
        return usable.with_build(build)
    if is_sif_uri(image.source):
        return lock_finished(project, image, usable)
    source = open_project_source(project, image.source, build.compression, progress)
    try:
        resolved = source.resolve(parse_platform(image.platform), KnownFromLock(usable, project.store))
        if usable and usable.manifest == resolved.manifest_digest:
            return usable.with_build(build)
        name = source.name.partition("@")[0]
        loaded = load_image(project.store, source, resolved.manifest_digest)
    finally:
        source.close()
    layers = tuple(LockedLayer(layer.descriptor.digest, layer.descriptor.size) for layer in loaded.layers)
    return Lock(
        source=image.source,
        name=name,
        digest=resolved.digest,
        platform=image.platform,
        manifest=resolved.manifest_digest,
        config=loaded.config_descriptor.digest,
        layers=layers,
        build=build,
    )


def _fits(lock: Lock, image: ImageSettings) -> bool:
    return (lock.source, lock.platform) == (image.source, image.platform)


def _what(old: Lock | None, new: Lock, trouble: str) -> str:
    if old is None:
        return trouble
    if old.manifest != new.manifest and is_sif_uri(new.source):
        return "the file is another one"
    if old.manifest != new.manifest:
        kept = {layer.digest for layer in old.layers}
        fresh = sum(layer.digest not in kept for layer in new.layers)
        return f"{fresh} of {len(new.layers)} layers are new"
    if old.build != new.build:
        return "settings"
    return "source"


def describe(outcome: Outcome) -> str:
    """Return in words how a lock changed."""
    if outcome.old == outcome.new:
        return f"{outcome.file}: {outcome.what} changed"
    old = outcome.old[:19] if outcome.old else "nothing"
    return f"{outcome.file}: {outcome.image}: {old} -> {outcome.new[:19]} ({outcome.what})"


def summarize(outcomes: Iterable[Outcome]) -> str:
    """Return the line that sums up a run."""
    states = [outcome.state for outcome in outcomes]
    counts = ", ".join(f"{state} {states.count(state)}" for state in (CHANGED, UNCHANGED, FAILED))
    return f"scanned {len(states)}, {counts}"
