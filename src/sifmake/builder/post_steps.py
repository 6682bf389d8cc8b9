"""The steps of ``%post``: each is a layer that is found again by its inputs, or made now."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.builder.post_environment import chosen_variables, post_environment
from sifmake.definition.model import as_bytes
from sifmake.errors import StepError, one_line
from sifmake.steps.secrets import MaskedOutput, SecretMask, proxy_passwords
from sifmake.steps.step_key import StepInputs
from sifmake.steps.step_notes import StepNote, title_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sifmake.builder.step_runner import StepResult, StepRunner
    from sifmake.builder.steps_check import StepsCheck, StepsOutcome
    from sifmake.definition.model import Lines
    from sifmake.layers.pack_reader import Pack
    from sifmake.steps.stage_tree import StageTree
    from sifmake.store import Store

_SHOWN = 100
"""Characters of a failed command in a message."""
_READ_ENVIRONMENT = (
    'for f in /.singularity.d/env/10-*.sh /.singularity.d/env/9*-environment.sh; do if [ -f "$f" ]; then . "$f"; fi; '
    "done; unset f"
)
"""Put before a script if the base has such files, so that the base's ``%environment`` is in effect."""


@dataclass(frozen=True)
class PostText:
    """One step in the definition.

    Attributes:
        text: The script.
        lines: Its line numbers in the file.
        words: The command that runs it.
        renewed: The date on which its lock had it run again; empty if it does not expire.
        asked: Words of later steps that may be functions of this one; not part of the key.
    """

    text: str
    lines: Lines
    words: tuple[str, ...]
    renewed: str = ""
    asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Surroundings:
    """The properties of the image that a step depends on, besides the tree.

    Attributes:
        environment: Environment of the image's config, ``NAME=value``.
        reads_scripts: Whether the scripts in the tree set the environment.
        architecture: Architecture of the image.
        epoch: SOURCE_DATE_EPOCH.
    """

    environment: Sequence[str]
    reads_scripts: bool
    architecture: str
    epoch: int


class PostSteps:
    """Runs the steps of stages, or takes them from the store.

    Attributes:
        ran: How many ran.
        cached: How many were taken from the store.

    Args:
        runner: Runs the steps that the store lacks.
        store: Provides notes and layers.
        source: Name of the definition file, for messages.
        output: Gets the output of scripts.
        check: Compares their results with a lock.
        environ: The caller's variables.
    """

    def __init__(
        self,
        runner: StepRunner,
        store: Store,
        source: str,
        output: Callable[[bytes], None],
        check: StepsCheck,
        *,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._runner = runner
        self._settings = runner.settings
        self._store = store
        self._source = source
        values = [*self._settings.secrets.values(), *proxy_passwords(environ)]
        self._mask = SecretMask(values)
        self._output = output
        self._check = check
        self._environ = environ
        self.ran = 0
        self.cached = 0

    def apply(self, steps: Sequence[PostText], tree: StageTree, around: Surroundings) -> bytes:
        """Apply the layers of all steps to a tree; return what they wrote to ``$APPTAINER_LABELS``.

        Raises:
            StepError: A script failed.
            StepsDifferError: A step gave something else than its lock says.
            SifmakeError: A script cannot be run.
        """
        labels, snapshot = b"", b""
        for number, step in enumerate(steps):
            carries = number + 1 < len(steps)
            note, pack = self._find_or_make(step, tree, around, snapshot, carries=carries)
            tree.apply(pack)
            self._check.compare(note, pack)
            labels, snapshot = labels + note.labels, note.snapshot
            if note.ended:
                break
        return labels

    def finish(self) -> StepsOutcome:
        """Write the lock of what the steps gave, if that is due; see :meth:`StepsCheck.finish`."""
        return self._check.finish()

    def _find_or_make(
        self, step: PostText, tree: StageTree, around: Surroundings, snapshot: bytes, *, carries: bool
    ) -> tuple[StepNote, Pack]:
        key = self._inputs(step, tree, around, snapshot, carries=carries).key
        title = title_of(step.text)
        if self._settings.use_cache and (found := self._find(key)):
            self._runner.progress.info(f"cached: {one_line(title)}")
            return found
        self._check.before_run(key, title)
        with ExitStack() as held:
            if self._settings.use_cache:
                held.enter_context(self._store.lock(f"step-{key}"))
                if found := self._find(key):  # another process made it meanwhile
                    return found
            return self._make(key, title, step, tree, around, snapshot, carries=carries)

    def _find(self, key: str) -> tuple[StepNote, Pack] | None:
        for note in self._check.notes(key):
            if pack := self._check.find_layer(note):
                self.cached += 1
                return note, pack
        return None

    def _make(
        self,
        key: str,
        title: str,
        step: PostText,
        tree: StageTree,
        around: Surroundings,
        snapshot: bytes,
        *,
        carries: bool,
    ) -> tuple[StepNote, Pack]:
        from sifmake.builder.foreign_programs import check_runnable
        from sifmake.builder.step_runner import Script
        from sifmake.rootless.errors import RootlessError

        environment = post_environment(around.environment, self._environ, around.epoch)
        text, words = step.text, step.words
        if around.reads_scripts and not snapshot:
            text, words = _with_environment(text, words)
        check_runnable(around.architecture, "%post", f"{self._source}:{step.lines.of(0)}")
        script = Script(text, words, environment, around.epoch, snapshot, carries, step.asked)
        self._runner.progress.info(f"running: {one_line(title)}")
        with self._runner.logged(key, self._output) as (log, write):  # the log has no secret either
            masked = MaskedOutput(self._mask, write)
            try:
                result = self._runner.run(script, tree, masked.write)
            except (StepError, RootlessError) as error:
                raise error.within(f"{self._source}:{step.lines.of(0)}: %post") from None
            finally:
                masked.end()
            self.ran += 1
            if result.pack is None:
                raise self._failed(step, result, log)
        note = StepNote(
            key,
            result.pack.meta.diff_id,
            self._runner.mode.value,
            title,
            result.labels,
            result.snapshot,
            result.ended,
            result.faked,
        )
        self._check.keep(note)
        return note, result.pack

    def _inputs(
        self, step: PostText, tree: StageTree, around: Surroundings, snapshot: bytes, *, carries: bool
    ) -> StepInputs:
        from sifmake.rootless.request import PostRequest

        settings = self._settings
        items = (item.partition("=") for item in around.environment)
        own = sorted({name: value for name, equals, value in items if equals}.items())
        return StepInputs(
            below=tree.diff_ids,
            text=step.text,
            words=step.words,
            environment=(*own, *chosen_variables(self._environ)),
            reads_scripts=around.reads_scripts and not snapshot,
            architecture=around.architecture,
            network=settings.network,
            binds=tuple(sorted(bind.target for bind in settings.binds)),
            secrets=tuple(sorted(settings.secrets)),
            epoch=around.epoch,
            clean=settings.clean,
            snapshot=hashlib.sha256(snapshot).hexdigest() if snapshot else "",
            carries=carries,
            privileged=settings.privileged,
            semantics=PostRequest.SEMANTICS,
            renewed=step.renewed,
        )

    def _failed(self, step: PostText, result: StepResult, log: Path) -> StepError:
        line = step.lines.of(max(0, result.line - 1))
        shown = self._mask(as_bytes(result.command)).decode(errors="replace")
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        command = f" after `{one_line(shown)}`" if shown else ""
        full = ", and the disk is full" if result.full else ""
        what = f"the script ended with exit status {result.status}{command}{full}"
        hint = f"its output is in {log}"
        if result.kept:
            from shlex import quote

            root = "" if os.geteuid() == 0 else "unshare --user --map-root-user "
            hint += f"; a shell in its tree: {root}chroot {quote(str(result.kept))} /bin/sh"
        return StepError(what, where=f"{self._source}:{line}: %post", hint=hint)


def _with_environment(text: str, words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return a script and its command so that the environment of the base is read first, without moving lines."""
    from sifmake.rootless.script import is_shell

    if is_shell(words) and "-c" not in words:
        return f"{{ set +x; {_READ_ENVIRONMENT}; set -x; }} 2>/dev/null; {text}", words
    return text, ("/bin/sh", "-c", f'{_READ_ENVIRONMENT}; exec "$@"', "sh", *words)
