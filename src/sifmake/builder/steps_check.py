"""Compare what steps give with what is locked, and write the lock if that is due."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from sifmake.errors import LockError, PackDamagedError, StepsDifferError, one_line
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci.digest import digest_bytes
from sifmake.progress import tell_failure
from sifmake.steps.step_notes import find_note, keep_note, other_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sifmake.builder.remote_steps import RemoteSteps
    from sifmake.builder.signed_notes import NoteSignatures
    from sifmake.layers.pack_reader import Pack
    from sifmake.limits import Limits
    from sifmake.progress import Progress
    from sifmake.project.steps_lock import LockedStep, StepsLock, StepsLockUse
    from sifmake.steps.step_notes import StepNote
    from sifmake.store import Store

_MOST = 50_000
"""Most files to keep in memory; a list has at most 8 MiB, in which no more than this differ in practice."""
_SHOWN = 100
"""Most files to name; the others are counted."""
_NAMED = 3
"""Most files to name in the error itself."""
_HINT = "if it is right, build again with SIFMAKE_ACCEPT_STEPS=1, which writes it into the lock"


@dataclass(frozen=True)
class StepsOutcome:
    """How the steps of a build compare with their lock.

    Attributes:
        digest: Digest of the lock, if it does not contradict the results; empty otherwise, or without a step.
        missing: How many steps are not in it.
    """

    digest: str = ""
    missing: int = 0


@dataclass
class StepsCheck:
    """The check of one build.

    Attributes:
        use: How the steps lock is used; None if there is none, so that nothing is compared or written.
        store: Where notes and lists are.
        find_pack: Returns the pack of a DiffID from the store.
        progress: Receives messages.
        limits: Bounds on the lock.
        signatures: Signs notes, and finds signed ones; None if that is not done.
        remotes: Remote stores of notes and packs; None if there are none.
    """

    use: StepsLockUse | None
    store: Store
    find_pack: Callable[[str], Pack | None]
    progress: Progress
    limits: Limits = DEFAULT_LIMITS
    signatures: NoteSignatures | None = None
    remotes: RemoteSteps | None = None
    _lock: StepsLock | None = field(default=None, init=False)
    _made: dict[str, LockedStep] = field(default_factory=dict, init=False)
    _differs: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Read the lock.

        Raises:
            LockError: It is damaged, and this build does not write it again.
        """
        if self.use is None:
            return
        from sifmake.project.steps_lock import read_steps_lock

        try:
            self._lock = read_steps_lock(self.use.path, self.limits)
        except LockError:
            if not self.use.rewrites:
                raise

    def notes(self, key: str) -> Iterator[StepNote]:
        """Yield the notes of a step that may be used, the best first."""
        wanted = self._wanted(key)
        own = find_note(self.store, key)
        if own is not None and not self._may_use(own, wanted):
            own = None
        if own is not None and self.use is not None and self.use.rewrites:
            yield own
        yield from self._locked(key, wanted)
        if own is not None:
            yield own
        yield from self._signed(key, wanted)
        if self.remotes is not None and self.remotes.fetch_notes(key):
            yield from self._locked(key, wanted)
            yield from self._signed(key, wanted)

    def _locked(self, key: str, wanted: LockedStep | None) -> Iterator[StepNote]:
        if wanted is not None:
            yield from (note for note in other_notes(self.store, key) if wanted.gave_the_same(_result(note)))

    def _signed(self, key: str, wanted: LockedStep | None) -> Iterator[StepNote]:
        if self.signatures is not None:
            yield from (note for note in self.signatures.notes(key) if self._may_use(note, wanted))

    def find_layer(self, note: StepNote) -> Pack | None:
        """Return the layer of a step from the store, else from a remote store; None if neither has it."""
        pack = self.find_pack(note.diff_id)
        return pack or (self.remotes.fetch_pack(note.diff_id) if self.remotes is not None else None)

    def keep(self, note: StepNote) -> None:
        """Keep the note of a step that ran."""
        keep_note(self.store, note)
        if self.signatures is not None:
            self.signatures.sign(note)
        if self.remotes is not None:
            self.remotes.note(note)

    def _may_use(self, note: StepNote, wanted: LockedStep | None) -> bool:
        bound = self.use is not None and self.use.is_bound
        return wanted is None or not bound or wanted.gave_the_same(_result(note))

    def before_run(self, key: str, title: str) -> None:
        """Refuse to run a step if the build may not.

        Raises:
            LockError: The settings forbid it.
        """
        use = self.use
        if use is not None and use.refuse and use.is_bound:
            what = f"the layer of the step `{one_line(title)}` is not here, and `steps: refuse` forbids to run it"
            hint = "import the layer with `sifmake cache import`, or set `steps: rerun` in sifmake.yaml"
            raise LockError(what, where=f"{use.path}: {key[:12]}", hint=hint)

    def compare(self, note: StepNote, pack: Pack) -> None:
        """Compare the result of a step with the lock.

        Args:
            note: Its note.
            pack: Its layer.

        Raises:
            StepsDifferError: They differ, and the build is bound to its lock.
        """
        if self.use is None:
            return
        wanted = self._wanted(note.key)
        if wanted is not None and wanted.gave_the_same(_result(note)):
            self._made[note.key] = wanted
            if wanted.files and self.store.blobs.get(wanted.files) is None:
                self._keep_list(pack)
            return
        self._made[note.key] = _result(note, self._keep_list(pack))
        if wanted is not None:
            self._differs = True
            self._tell(self.use, wanted, note, pack)

    def finish(self) -> StepsOutcome:
        """Write the lock if it is absent, or if this build replaces it, and upload; call it after the last step."""
        outcome = self._write_lock()
        if self.remotes is not None:
            self.remotes.push({key: step.files for key, step in self._made.items()})
        return outcome

    def _write_lock(self) -> StepsOutcome:
        use = self.use
        if use is None:
            return StepsOutcome()
        from sifmake.project.steps_lock import StepsLock, steps_lock_digest, write_steps_lock

        lock, missing = StepsLock(tuple(self._made.values())), 0
        if use.is_bound:
            missing = sum(self._wanted(key) is None for key in self._made)
            if missing:
                what = f"{missing} of {len(self._made)} step(s) are not in the lock of steps, so they were not compared"
                self.progress.warning(f"{use.path}: {what}; build without locked=1 to add them")
        elif not lock.steps:
            use.path.unlink(missing_ok=True)
        elif use.rewrites or not self._differs:
            write_steps_lock(use.path, lock)
            self._differs = False
        return StepsOutcome(steps_lock_digest(use.path) if lock.steps and not self._differs else "", missing)

    def _wanted(self, key: str) -> LockedStep | None:
        """Return what is locked for a step; None if nothing is."""
        return self._lock.find(key) if self._lock is not None else None

    def _keep_list(self, pack: Pack) -> str:
        """Keep the list of a layer's files in the store; return its digest, or an empty text if it is too long."""
        from sifmake.steps.file_list import list_files

        data = list_files(pack)
        if len(data) > DEFAULT_LIMITS.config_bytes:
            return ""
        digest = digest_bytes(data)
        self.store.blobs.put(digest, data)
        return digest

    def _tell(self, use: StepsLockUse, wanted: LockedStep, note: StepNote, pack: Pack) -> None:
        changes = self._changes(wanted, pack) if wanted.layer != note.diff_id else []
        title = f"the step `{one_line(note.title)}`"
        tell = partial(tell_failure, self.progress) if use.is_bound else self.progress.warning
        for change in changes[:_SHOWN] if changes else ():
            tell(f"{title}: {one_line(change)}")
        if changes and len(changes) > _SHOWN:
            tell(f"{title}: and {len(changes) - _SHOWN} more files")
        what = f"{title} gave {_summary(wanted, note, changes)}"
        if use.is_bound:
            error = StepsDifferError(what, where=str(use.path), hint=_HINT)
            error.changes = tuple(changes or ())
            raise error
        if not use.rewrites:
            self.progress.warning(
                f"{use.path}: {what}; the lock was not changed: write it again with SIFMAKE_UPDATE_STEPS=1"
            )

    def _changes(self, wanted: LockedStep, pack: Pack) -> list[str] | None:
        """Return the files that differ; None if the list of the locked files is not in the store."""
        from sifmake.steps.file_list import compare_lists, list_files

        old = self.store.blobs.get(wanted.files) if wanted.files else None
        if old is None:
            old = self._list_of(wanted.layer)
        if old is None and wanted.files and self.remotes is not None:
            old = self.remotes.fetch_list(wanted.files)
        if old is None:
            return None
        return [f"{path}: {what}" for path, what in islice(compare_lists(old, list_files(pack)), _MOST)]

    def _list_of(self, diff_id: str) -> bytes | None:
        pack = self.find_pack(diff_id)
        if pack is None:
            return None
        from sifmake.steps.file_list import list_files

        with pack:
            try:
                return list_files(pack)
            except PackDamagedError:
                return None


def _result(note: StepNote, files: str = "") -> LockedStep:
    """Return a note as a lock records it."""
    from sifmake.project.steps_lock import LockedStep

    return LockedStep(
        key=note.key,
        title=note.title,
        layer=note.diff_id,
        mode=note.mode,
        files=files,
        snapshot=digest_bytes(note.snapshot) if note.snapshot else "",
        labels=digest_bytes(note.labels) if note.labels else "",
        ended=note.ended,
    )


def _summary(wanted: LockedStep, note: StepNote, changes: list[str] | None) -> str:
    """Return in words how the result of a step differs from the lock."""
    made = _result(note)
    if wanted.layer == made.layer:
        parts = ((wanted.snapshot, made.snapshot, "variables of its shell"), (wanted.labels, made.labels, "labels"))
        return f"other {' and '.join(name for old, new, name in parts if old != new) or 'steps after it'}"
    if changes is None:
        return "another layer than the lock says; the list of the locked files is not in the store"
    if not changes:
        return "another layer than the lock says, with the same files in another order or form"
    named = "; ".join(changes[:_NAMED])
    more = f"; and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
    count = f"{len(changes)} or more files" if len(changes) == _MOST else f"{len(changes)} file(s)"
    return f"{count} that differ from the lock ({named}{more})"
