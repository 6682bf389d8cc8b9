"""One scheduled rebuild: refresh the locks, build the images, log digests, send a notification.

Each image ends in one state: ``unchanged``, ``rebuilt``, or ``failed`` at a stage. The log has one line for each
published digest.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sifmake.builder.cancellation import CancellableProgress
from sifmake.builder.image_signing import check_published
from sifmake.errors import SifmakeError, describe_os_error
from sifmake.files import make_folders, write_atomic
from sifmake.json_text import parse_json
from sifmake.os_errors import naming
from sifmake.places import results_place, telling_places
from sifmake.progress import tell_failure
from sifmake.project.project import Project
from sifmake.project.records import read_record
from sifmake.project.stage_table import STAGE_NAMES
from sifmake.stages.build_order import in_order
from sifmake.stages.lock_refresh import CHANGED, LockOutcome, LockRefresher, summarize
from sifmake.stages.runner import open_runner
from sifmake.threads import Threads
from sifmake.withheld import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

UNCHANGED, REBUILT, FAILED = "unchanged", "rebuilt", "failed"
_LOG = "results/digests.jsonl"
_SUMMARY = "results/summary.json"
_RUN_LOCK = "results/.rebuild.lock"


@dataclass(frozen=True)
class ImageState:
    """The result for one image.

    Attributes:
        name: The image.
        state: ``unchanged``, ``rebuilt`` or ``failed``.
        image: Its reference without digest; empty if there is no lock.
        old: Digest that was published last; empty if there was none, or the log does not have it.
        new: Digest that is published now; empty if the image failed.
        what: What changed, in words.
        stage: The stage that failed, or ``lock``.
        error: Why it failed.
    """

    name: str
    state: str
    image: str = ""
    old: str = ""
    new: str = ""
    what: str = ""
    stage: str = ""
    error: str = ""


@dataclass(frozen=True)
class Rebuild:
    """What one rebuild did.

    Attributes:
        time: When it ended, ISO 8601, UTC.
        images: One state for each image, in the order of the configuration.
        notice: Why the notification failed; empty if it succeeded or was not needed.
    """

    time: str
    images: tuple[ImageState, ...]
    notice: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether an image or the notification failed."""
        return bool(self.notice) or any(image.state == FAILED for image in self.images)

    def document(self) -> dict[str, Any]:
        """Return the result as a JSON document."""
        built = not any(image.state == FAILED for image in self.images)
        return {"time": self.time, "built": built, "images": [asdict(image) for image in self.images]}


def rebuild(project: Project, jobs: int) -> Rebuild | None:
    """Refresh all locks, build all images, and report.

    Args:
        project: The project; in locked mode its locks are not refreshed.
        jobs: Images built at the same time.

    Returns:
        What happened; None if another rebuild of this project is running.

    Raises:
        ConfigError: There is no project in the folder, or its configuration is not valid. Nothing is written then.
        OSError: The log or the summary cannot be written.
    """
    names = list(project.images)
    with telling_places(results_place(project.root / "results")), _run_lock(project.root / _RUN_LOCK) as held:
        if not held:
            return None
        outcomes = {} if project.modes.locked else _refresh(project, names)
        published = _last_published(project.root / _LOG)
        images = _build_all(project, jobs, outcomes, published)
        result = Rebuild(datetime.now(UTC).isoformat(timespec="seconds"), images)
        _append_log(project.root / _LOG, result)
        write_atomic(project.root / _SUMMARY, json.dumps(result.document(), indent=2).encode())
        return Rebuild(result.time, result.images, _notify(project, result))


@contextmanager
def _run_lock(path: Path) -> Iterator[bool]:
    """Hold the run lock; yield False if another run has it. The kernel releases it when its holder ends."""
    make_folders(path.parent)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _refresh(project: Project, names: list[str]) -> dict[str, LockOutcome]:
    outcomes = list(LockRefresher(project).refresh_all(names))
    project.progress.info(summarize(outcomes))
    return {outcome.name: outcome for outcome in outcomes}


def _build_all(
    project: Project, jobs: int, outcomes: Mapping[str, LockOutcome], published: Mapping[str, str]
) -> tuple[ImageState, ...]:
    """Build all images, those from which others are built first; an interrupt ends them, and begins no other."""
    progress = CancellableProgress(project.progress)
    building = Project(project.root, project.modes, progress)
    with Threads(jobs) as threads:
        try:
            states: dict[str, ImageState] = {}
            for names in in_order(project):
                builds = threads.map(
                    lambda name: _build(building, name, outcomes.get(name), published.get(name, "")), names
                )
                states |= {state.name: state for state in builds}
            return tuple(states[name] for name in project.images)
        except BaseException:
            progress.stop()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _build(project: Project, name: str, outcome: LockOutcome | None, old: str) -> ImageState:
    """Run an image's stages; if its lock could not be refreshed, build from the old lock and report that failure."""
    before = _published_file(project, name)
    stage, error, worked = "", "", False
    with open_runner(project) as runner:
        try:
            for stage in STAGE_NAMES:
                worked = runner.run(stage, name)
            if not worked:
                check_published(project, name)
        except SifmakeError as trouble:
            error = str(trouble)
        except OSError as trouble:
            error = describe_os_error(trouble)
    if outcome is not None and outcome.error is not None:
        stage, error = "lock", str(outcome.error)
    if error:
        tell_failure(project.progress, f"{name}: {error}")
        return ImageState(name, FAILED, outcome.image if outcome else "", old, stage=stage, error=error)
    lock = project.lock(name)
    state = UNCHANGED if before and before == _published_file(project, name) else REBUILT
    what = outcome.what if outcome is not None and outcome.state == CHANGED else ""
    return ImageState(name, state, lock.name, old, lock.digest, what)


def _published_file(project: Project, name: str) -> str:
    record = read_record(project.record("publish", name))
    return str(record["result"].get("sha256", "")) if record else ""


def _last_published(log: Path) -> Mapping[str, str]:
    """Return the last published digest of each image; damaged lines are ignored."""
    found = {}
    try:
        lines = log.read_text().splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            entry = parse_json(line)
            found[str(entry["name"])] = str(entry["new"])
        except (ValueError, LookupError, TypeError):
            continue
    return found


def _append_log(path: Path, result: Rebuild) -> None:
    """Add a line for each digest that was published; a line that a full disk has cut stays apart from them.

    The lines are durable; the name of a new log is when the summary, which stands beside it, has been written.
    """
    keys = ("name", "image", "old", "new", "what")
    rows = [asdict(image) for image in result.images if image.state == REBUILT]
    lines = [json.dumps({"time": result.time, **{key: row[key] for key in keys}}) + "\n" for row in rows]
    with naming(path), path.open("ab+") as file:
        if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
            lines.insert(0, "\n")
        file.write("".join(lines).encode())
        file.flush()
        os.fsync(file.fileno())


def _notify(project: Project, result: Rebuild) -> str:
    """Pass the summary to the configured command if there is news; return why that failed, or an empty string."""
    command = project.configuration.notify
    if not command or all(image.state == UNCHANGED for image in result.images):
        return ""
    text = json.dumps(result.document())
    try:
        done = subprocess.run(
            command, input=text, text=True, check=False, cwd=project.root, env=without_secrets(os.environ)
        )
    except OSError as error:
        return f"{command[0]}: {error.strerror}; correct 'notify' in sifmake.yaml"
    return f"{command[0]}: ended with status {done.returncode}" if done.returncode else ""
