"""Refreshing locks: ask which digests the tags point to, and rewrite the locks that changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sifmake.builder.cancellation import CancellableProgress
from sifmake.errors import LockError, SifmakeError
from sifmake.os_errors import path_in
from sifmake.project.lock_edits import find_lock
from sifmake.project.lock_file import write_lock
from sifmake.project.locks import AnyLock, BuildLock, Lock, PrebuiltLock
from sifmake.stages.lock_check import check_lock
from sifmake.stages.lock_making import LockMaker
from sifmake.stages.once import Answers
from sifmake.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sifmake.project.images import ImageSettings
    from sifmake.project.lock_edits import FoundLock
    from sifmake.project.project import Project

UNCHANGED, CHANGED, FAILED = "unchanged", "changed", "failed"


@dataclass(frozen=True)
class LockOutcome:
    """The result for the lock of one image.

    Attributes:
        name: The image.
        state: ``unchanged``, ``changed`` (written, or to be written when only checking) or ``failed``.
        file: The lock file.
        image: Reference without digest.
        old: Digest in the lock before; empty if there was none.
        new: Digest that the reference points to now.
        what: What changed, in words.
        error: Why it failed.
    """

    name: str
    state: str
    file: Path
    image: str = ""
    old: str = ""
    new: str = ""
    what: str = ""
    error: SifmakeError | None = None

    def document(self) -> dict[str, Any]:
        """Return the outcome as a JSON document."""
        return {**vars(self), "file": str(self.file), "error": str(self.error) if self.error else ""}


class LockRefresher:
    """Refreshes locks of a project; each image is requested once in a process.

    Attributes:
        project: The project.
        check: Whether to write nothing.
    """

    def __init__(self, project: Project, *, check: bool = False, building: bool = False) -> None:
        """Set up a run.

        Args:
            project: The project.
            check: Whether to write nothing.
            building: Whether builds follow; see :class:`LockMaker`.
        """
        self.project = project
        self.check = check
        self._outcomes: dict[str, LockOutcome] = {}
        self._locks: dict[str, AnyLock] = {}
        self._wanted: set[str] = set()
        self._answers = Answers()
        self._progress = CancellableProgress(project.progress)
        self._maker = LockMaker(project, self._progress, self._lock_of, check=check, building=building)

    def refresh(self, name: str) -> LockOutcome:
        """Refresh one lock; a failure is an outcome, not an exception."""
        with self._answers.turn(name):
            if name not in self._outcomes:
                self._outcomes[name] = self._refresh(name)
            return self._outcomes[name]

    def _lock_of(self, name: str) -> AnyLock:
        """Return the lock of an image from which another one is built.

        It is refreshed first if this run refreshes it, or if there is no lock that could be used.
        """
        if name not in self._wanted:
            try:
                return check_lock(self.project, name)
            except LockError:
                pass
        outcome = self.refresh(name)
        if outcome.error is not None:
            raise outcome.error.within(name)
        return self._locks[name]

    def refresh_all(self, names: Iterable[str]) -> Iterator[LockOutcome]:
        """Refresh many locks at the same time, bounded; yield the outcomes in order."""
        project, names = self.project, list(names)
        self._wanted.update(names)
        _ = project.images, project.configuration, project.store  # read once, before threads start
        with Threads(project.configuration.parallel_requests) as threads:
            try:
                yield from threads.map(self.refresh, names)
            except BaseException:
                self._progress.stop()
                raise

    def _refresh(self, name: str) -> LockOutcome:
        path = self.project.lock_path(name)
        try:
            image = self.project.image(name)
            found = find_lock(path, self.project.configuration.limits, lambda: self.project.lock(name))
            return self._settle(image, found, self._maker.make(image, found))
        except SifmakeError as error:
            return LockOutcome(name, FAILED, path, error=error)
        except OSError as error:
            where = path_in(error) or str(path)
            what = f"the lock cannot be made ({error.strerror or error})"
            return LockOutcome(name, FAILED, path, error=LockError(what, where=where))

    def _settle(self, image: ImageSettings, found: FoundLock, new: AnyLock) -> LockOutcome:
        path, old = self.project.lock_path(image.name), found.lock
        self._locks[image.name] = new
        before = old.digest if old else found.digest
        if old == new:
            return LockOutcome(image.name, UNCHANGED, path, new.name, before, new.digest)
        if not self.check:
            write_lock(path, new)
        return LockOutcome(image.name, CHANGED, path, new.name, before, new.digest, _what(found, new))


def _what(found: FoundLock, new: AnyLock) -> str:
    old = found.lock
    if old is None:
        return "what follows from the edited digest" if found.digest else found.why
    if old.digest == new.digest and _contents(old) != _contents(new):
        return "what did not follow from the digest"
    if isinstance(old, BuildLock) and isinstance(new, BuildLock) and old.inputs != new.inputs:
        from sifmake.stages.build_locking import what_changed

        return what_changed(old.inputs, new.inputs)
    if old.built_from != new.built_from:
        return _new_content(old, new)
    if (old.source, old.platform) == (new.source, new.platform) and old.digest != new.digest:
        return "the old digest is not there any more"
    return "settings" if old.build != new.build else "source"


def _contents(lock: AnyLock) -> list[object]:
    document = lock.document()
    return [document.get(name) for name in ("manifest", "config", "layers")]


def _new_content(old: AnyLock, new: AnyLock) -> str:
    if not (isinstance(old, Lock) and isinstance(new, Lock)):
        return "the file is another one" if isinstance(new, PrebuiltLock) else "it is made in another way"
    kept = {layer.digest for layer in old.layers}
    fresh = sum(layer.digest not in kept for layer in new.layers)
    return f"{fresh} of {len(new.layers)} layers are new"


def describe(outcome: LockOutcome) -> str:
    """Return in words how a lock changed."""
    if outcome.old == outcome.new:
        return f"{outcome.file}: {outcome.what} changed"
    old = outcome.old[:19] if outcome.old else "nothing"
    return f"{outcome.file}: {outcome.image}: {old} -> {outcome.new[:19]} ({outcome.what})"


def summarize(outcomes: Iterable[LockOutcome]) -> str:
    """Return the line that summarizes a run."""
    states = [outcome.state for outcome in outcomes]
    counts = ", ".join(f"{state} {states.count(state)}" for state in (CHANGED, UNCHANGED, FAILED))
    return f"scanned {len(states)}, {counts}"
