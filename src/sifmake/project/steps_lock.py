"""What the steps of an image gave, locked beside its inputs: ``config/locks/NAME.steps.yaml``.

The lock of an image holds inputs only, and no step has this file among its inputs, so it may be written after the
build. It proves nothing by itself: a build compares its steps with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sifmake.errors import ConfigError, LockError
from sifmake.files import sha256_of, write_changed
from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.project.lock_text import checksum, join_pairs, yaml_lines
from sifmake.project.yaml_file import YamlFile

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = "# Written by sifmake: what the steps of an image gave. Commit it. SIFMAKE_ACCEPT_STEPS=1 takes new results.\n"
_FORMAT = 1
_KEY = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MODES = frozenset({"root", "subuid", "single"})
_SHOWN = 40


@dataclass(frozen=True)
class LockedStep:
    """What one step gave.

    Attributes:
        key: Key of the step: the digest of its inputs.
        title: First line of its script.
        layer: DiffID of its layer.
        mode: How it ran: ``root``, ``subuid`` or ``single``.
        files: Digest of the list of the layer's files; empty if there is no list.
        snapshot: Digest of the state of the shell for the next step; empty if there is none.
        labels: Digest of what it wrote to ``$APPTAINER_LABELS``; empty if that was nothing.
        ended: Whether the script called ``exit 0``, so that no later step runs.
    """

    key: str
    title: str
    layer: str
    mode: str
    files: str = ""
    snapshot: str = ""
    labels: str = ""
    ended: bool = False

    def gave_the_same(self, other: LockedStep) -> bool:
        """Tell whether two results are equal; how they were made does not matter."""
        return self._result() == other._result()

    def _result(self) -> tuple[object, ...]:
        return self.key, self.layer, self.snapshot, self.labels, self.ended

    def document(self) -> dict[str, Any]:
        """Return the content of the file for this step, without empty values."""
        values = {
            "run": self.title,
            "layer": self.layer,
            "files": self.files,
            "mode": self.mode,
            "snapshot": self.snapshot,
            "labels": self.labels,
            "ended": int(self.ended),
        }
        return {name: value for name, value in values.items() if value or name == "run"}


@dataclass(frozen=True)
class StepsLock:
    """What all steps of an image gave, in the order in which they ran."""

    steps: tuple[LockedStep, ...] = ()

    def find(self, key: str) -> LockedStep | None:
        """Return what the step with a key gave; None if it is not locked."""
        return next((step for step in self.steps if step.key == key), None)


@dataclass(frozen=True)
class StepsLockUse:
    """How a build uses a steps lock.

    Attributes:
        path: The file.
        locked: Whether a step must give what is locked.
        refuse: Whether a locked build refuses to run a step whose layer is missing.
        update: Whether the file is written again with what the steps give.
        accept: Whether the same is done in a locked build.
    """

    path: Path
    locked: bool = False
    refuse: bool = False
    update: bool = False
    accept: bool = False

    @property
    def rewrites(self) -> bool:
        """Whether the results of this build replace those in the file."""
        return self.accept or (self.update and not self.locked)

    @property
    def is_bound(self) -> bool:
        """Whether a difference ends the build."""
        return self.locked and not self.accept


def write_steps_lock(path: Path, lock: StepsLock) -> bool:
    """Write the file unless it has these bytes already; return whether it was written."""
    return write_changed(path, format_steps_lock(lock))


def steps_lock_path(lock: Path) -> Path:
    """Return the path of the steps lock beside the lock of an image."""
    return lock.with_suffix(".steps.yaml")


def steps_lock_digest(path: Path) -> str:
    """Return the digest of the file; empty if there is none."""
    try:
        return f"sha256:{sha256_of(path)}"
    except FileNotFoundError:
        return ""


def format_steps_lock(lock: StepsLock) -> bytes:
    """Return the bytes of the file, which are always the same for the same results."""
    document: dict[str, Any] = {"format": _FORMAT, "steps": {step.key: step.document() for step in lock.steps}}
    return (_HEAD + "\n".join(yaml_lines({**document, "checksum": checksum(document)})) + "\n").encode()


def read_steps_lock(path: Path, limits: Limits = DEFAULT_LIMITS) -> StepsLock | None:
    """Read a steps lock; None if there is none.

    Raises:
        LockError: It is damaged, exceeds a limit, or was edited.
    """
    hint = "restore it from version control, or write it again with SIFMAKE_UPDATE_STEPS=1"
    if not path.exists():
        return None
    try:
        document = YamlFile.read(path, limits, join_pairs).value
        given = document.pop("checksum")
        lock = _parse(document)
    except ConfigError as error:
        raise LockError(error.what, where=error.where, hint=error.hint if "limit" in error.what else hint) from error
    except KeyError as error:
        what = f"not a lock of steps: {str(error.args[0])[:_SHOWN]!r} is missing"
        raise LockError(what, where=str(path), hint=hint) from error
    except (AttributeError, TypeError) as error:
        raise LockError("not a lock of steps", where=str(path), hint=hint) from error
    except ValueError as error:
        raise LockError(f"not a lock of steps: {error}", where=str(path), hint=hint) from error
    if given != checksum(document):
        raise LockError("was edited, and its parts no longer match", where=str(path), hint=hint)
    return lock


def need_steps_lock(path: Path, limits: Limits = DEFAULT_LIMITS) -> StepsLock:
    """Read a steps lock that must exist; raises like :func:`read_steps_lock`."""
    lock = read_steps_lock(path, limits)
    if lock is None:
        raise LockError("there is no such lock of steps", where=str(path), hint="build the image once")
    return lock


def _parse(document: dict[str, Any]) -> StepsLock:
    if document["format"] != _FORMAT:
        raise ValueError(
            f"it has the format {str(document['format'])[:_SHOWN]}, this version of sifmake reads {_FORMAT}"
        )
    steps: dict[str, dict[str, Any]] = document["steps"]
    return StepsLock(tuple(_step(key, step) for key, step in steps.items()))


def _step(key: str, given: dict[str, Any]) -> LockedStep:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key[:_SHOWN]!r} is not the key of a step")
    if unknown := sorted(given.keys() - {"run", "layer", "files", "mode", "snapshot", "labels", "ended"}):
        raise ValueError(f"unknown key {unknown[0][:_SHOWN]!r}")
    if given["mode"] not in _MODES:
        raise ValueError(f"{str(given['mode'])[:_SHOWN]!r} is not a mode")
    return LockedStep(
        key=key,
        title=_text(given["run"]),
        layer=_digest(given["layer"]),
        mode=given["mode"],
        files=_digest_or_none(given, "files"),
        snapshot=_digest_or_none(given, "snapshot"),
        labels=_digest_or_none(given, "labels"),
        ended=_flag(given.get("ended", 0)),
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("'run' is not text")


def _digest_or_none(given: dict[str, Any], name: str) -> str:
    return _digest(given[name]) if name in given else ""


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(f"{str(value)[:_SHOWN]!r} is not a digest")
    return value


def _flag(value: Any) -> bool:
    if isinstance(value, bool) or value not in (0, 1):
        raise ValueError(f"{str(value)[:_SHOWN]!r} is neither 0 nor 1")
    return bool(value)
