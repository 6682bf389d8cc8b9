"""Run a step of ``%post`` on a tree, or ``%setup`` on the host; its changes become a layer."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Self

from sifmake.builder.step_trees import StepTrees, remove_left, sweep_unpacked
from sifmake.definition.model import as_bytes
from sifmake.errors import SifmakeError, StoreError
from sifmake.steps.secrets import refuse_secrets, refusing_secrets
from sifmake.steps.unpacked_trees import UnpackedTrees

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sifmake.builder.build_request import StepSettings
    from sifmake.layers.pack_reader import Pack
    from sifmake.progress import Progress
    from sifmake.rootless.modes import Choice
    from sifmake.rootless.request import Mode
    from sifmake.steps.layer_maker import LayerMaker
    from sifmake.steps.stage_tree import StageTree

_SHOWN = 16
"""Characters of a key in the name of a log."""


@dataclass(frozen=True)
class Script:
    """A script to run.

    Attributes:
        text: The script.
        words: The command that runs it.
        environment: All its environment variables.
        epoch: Seconds since 1970 to which later times are set back.
        snapshot: State of the shell after the step before.
        carries: Whether the next step needs the state of the shell.
        asked: Words of later steps that may be functions of this one.
        on_host: Whether it sees the host instead of the tree, as ``%setup`` does.
    """

    text: str
    words: tuple[str, ...]
    environment: Mapping[str, str]
    epoch: int
    snapshot: bytes = b""
    carries: bool = False
    asked: tuple[str, ...] = ()
    on_host: bool = False


@dataclass(frozen=True)
class StepResult:
    """The result of a step.

    Attributes:
        pack: The layer; None if the script failed.
        status: Exit status of the script.
        line: Number of the line in the script that ran last, from 1; 0 if unknown.
        command: The command that ran last, as printed by the shell.
        labels: What it wrote to ``$APPTAINER_LABELS``.
        snapshot: State of the shell at its end.
        ended: Whether the script called ``exit 0``.
        faked: What the layer cannot store.
        full: Whether the disk was full when it failed.
        kept: Folder with the tree of a failed script, if it is kept.
    """

    pack: Pack | None
    status: int
    line: int = 0
    command: str = ""
    labels: bytes = b""
    snapshot: bytes = b""
    ended: bool = False
    faked: tuple[str, ...] = ()
    full: bool = False
    kept: Path | None = None


@dataclass
class StepRunner:
    """Runs the steps of one build.

    Attributes:
        settings: How steps run.
        maker: Makes the layers.
        progress: Receives output and messages.
    """

    settings: StepSettings
    maker: LayerMaker
    progress: Progress
    _held: ExitStack = field(default_factory=ExitStack, init=False)

    @cached_property
    def trees(self) -> UnpackedTrees:
        """Unpacked trees, in a folder that is created when the first step runs."""
        return UnpackedTrees(UnpackedTrees.usual_folder(self.settings.tmpdir))

    @cached_property
    def scratch(self) -> Path:
        """A folder for the files of running steps."""
        from shutil import rmtree

        return self._held.enter_context(self.trees.scratch(rmtree))

    @cached_property
    def choice(self) -> Choice:
        """How steps run here. Raises RootlessError if they cannot."""
        from sifmake.rootless.modes import choose_mode

        self.trees.sweep(remove_left)  # first, because it takes room
        return choose_mode(self.scratch)

    def prepare(self) -> None:
        """Choose how steps run. Raises RootlessError if they cannot run here."""
        _ = self.choice

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        with suppress(SifmakeError, OSError):
            sweep_unpacked(UnpackedTrees.usual_folder(self.settings.tmpdir))

    @property
    def mode(self) -> Mode:
        """How scripts become root here."""
        return self.choice.mode

    def run(self, script: Script, tree: StageTree, output: Callable[[bytes], None]) -> StepResult:
        """Run a script and make a layer of its changes.

        If the unpacked tree was changed meanwhile, it is unpacked again, and the script runs again.

        Args:
            script: The script.
            tree: The tree to run on; the layer is not applied to it.
            output: Gets its output.

        Raises:
            StepError: It has left a secret in its layer, its labels, or the variables of its shell.
            SifmakeError: The script cannot be run, or its layer cannot be made.
        """
        try:
            return self._run(script, tree, output)
        except _ChangedError as changed:
            what = f"{changed}: this unpacked tree was changed after it was made, so the script runs again on a new one"
            self.progress.warning(what)
        try:
            return self._run(script, tree, output)
        except _ChangedError as changed:
            hint = "name a folder on a local disk that nothing cleans up with SIFMAKE_TMPDIR"
            raise StoreError("this unpacked tree is changed again and again", where=str(changed), hint=hint) from None

    def _run(self, script: Script, tree: StageTree, output: Callable[[bytes], None]) -> StepResult:
        from sifmake.rootless.post import run_post
        from sifmake.rootless.request import PostBind, PostRequest
        from sifmake.rootless.tree_check import TreeCheck

        settings = self.settings
        with ExitStack() as stack:
            lowers = stack.enter_context(StepTrees(self.trees, self.choice, self.progress).hold(tree))
            check = stack.enter_context(TreeCheck(lowers, self.mode))
            request = PostRequest(
                mode=self.mode,
                lowers=tuple(lowers),
                scratch=self.scratch,
                script=as_bytes(script.text),
                words=script.words,
                environment=script.environment,
                binds=tuple(PostBind(one.source, one.target, one.read_only) for one in settings.binds),
                network=settings.network == "host",
                secrets={} if script.on_host else settings.secrets,
                epoch=script.epoch,
                output=output,
                snapshot=script.snapshot,
                carry=script.carries,
                asked=script.asked,
                privileged=settings.privileged,
                setup=script.on_host,
                keep=settings.keep_failed,
                leave_out=() if script.on_host else settings.clean,
                copy=not self.choice.overlay,
            )
            result = stack.enter_context(run_post(request))
            self._refuse_changed(check.changed(), result.kept)
            if result.status:
                kept = self._keep(result.kept) if result.kept else None
                return StepResult(None, result.status, result.line, result.command, full=result.full, kept=kept)
            secrets = request.secrets
            refuse_secrets(result.labels, result.snapshot, secrets)
            changes = refusing_secrets(result.changes(), secrets)
            pack = self.maker.make_of_entries(changes, "layer of %setup" if script.on_host else "layer of %post")
            ended = not result.reached_end
            labels, snapshot, faked = result.labels, result.snapshot, tuple(result.faked)
        return StepResult(pack, 0, 0, "", labels, snapshot, ended, faked)

    def _refuse_changed(self, changed: Sequence[Path], kept: Path | None) -> None:
        """Refuse what a script did on a tree that was changed; the tree is made again when it is needed next.

        Args:
            changed: The folders of changed trees.
            kept: The folder with the tree of the failed script.
        """
        if not changed:
            return
        from sifmake.rootless.unpacking import remove_tree

        for place in changed:
            self.trees.spoil(place)
        if kept:
            remove_tree(kept, self.mode)
        raise _ChangedError(changed[0])

    def _keep(self, folder: Path) -> Path:
        """Move the tree of a failed step out of the folder that is removed after the build."""
        return folder.rename(self.trees.folder / folder.name)

    @contextmanager
    def logged(self, key: str, output: Callable[[bytes], None]) -> Iterator[tuple[Path, Callable[[bytes], None]]]:
        """Provide the path of a log, and a function that writes to it and to ``output``.

        The log gets its name if the block fails or is interrupted, unless it is empty; until then it has another one,
        because builds with other stores may run the same step at the same time.

        Args:
            key: Key of the step.
            output: Gets the same output.

        Raises:
            OSError: The log cannot be written.
        """
        log = self.trees.logs / f"{key[:_SHOWN]}.log"
        running = log.with_suffix(f".{os.urandom(4).hex()}")
        with running.open("wb", buffering=0) as file:

            def write(data: bytes) -> None:
                file.write(data)
                output(data)

            done = False
            try:
                yield log, write
                done = True
            except KeyboardInterrupt:
                if file.tell():
                    self.progress.info(f"the output of the interrupted step is in {log}")
                raise
            finally:
                with suppress(FileNotFoundError):  # `cache clean` may have removed it
                    if done or not file.tell():
                        running.unlink()
                    else:
                        running.replace(log)


class _ChangedError(Exception):
    """A tree was changed after it was unpacked; the argument is its folder."""
