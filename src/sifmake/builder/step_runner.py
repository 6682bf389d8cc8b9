"""Run a step of ``%post`` on a tree, or ``%setup`` on the host; its changes become a layer."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Self, cast

from sifmake.errors import SifmakeError
from sifmake.places import Place
from sifmake.steps.secrets import refuse_secrets, refusing_secrets
from sifmake.steps.step_key import digest_of
from sifmake.steps.unpacked_trees import UnpackedTrees

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sifmake.builder.build_request import StepSettings
    from sifmake.layers.entry import Entry, Inode
    from sifmake.layers.pack_reader import Pack
    from sifmake.progress import Progress
    from sifmake.rootless.modes import Choice
    from sifmake.rootless.request import Mode
    from sifmake.steps.layer_maker import LayerMaker
    from sifmake.steps.stage_tree import StageTree
    from sifmake.steps.unpacked_trees import UnpackedTree

_UNPACKING = 1
"""Increase this number when trees are unpacked differently."""
_SHOWN = 16
"""Characters of a key in the name of a log."""
_MOST_LAYERS = 30
"""Most layers over an unpacked tree; the kernel accepts some hundreds, but each makes lookups slower."""


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

        self.trees.sweep(_remove_left)  # first, because it takes room
        return choose_mode(self.scratch)

    def prepare(self) -> None:
        """Choose how steps run. Raises RootlessError if they cannot run here."""
        _ = self.choice

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        with suppress(SifmakeError, OSError):
            _sweep(UnpackedTrees.usual_folder(self.settings.tmpdir))

    @property
    def mode(self) -> Mode:
        """How scripts become root here."""
        return self.choice.mode

    def run(self, script: Script, tree: StageTree, output: Callable[[bytes], None]) -> StepResult:
        """Run a script and make a layer of its changes.

        Args:
            script: The script.
            tree: The tree to run on; the layer is not applied to it.
            output: Gets its output.

        Raises:
            StepError: It has left a secret in its layer, its labels, or the variables of its shell.
            SifmakeError: The script cannot be run, or its layer cannot be made.
        """
        from sifmake.rootless.post import run_post
        from sifmake.rootless.request import PostBind, PostRequest

        settings = self.settings
        with ExitStack() as stack:
            lowers = stack.enter_context(self._unpacked(tree))
            request = PostRequest(
                mode=self.mode,
                lowers=tuple(lowers),
                scratch=self.scratch,
                script=script.text.encode("utf-8", "surrogateescape"),
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

    @contextmanager
    def _unpacked(self, tree: StageTree) -> Iterator[list[Path]]:
        """Provide the folders of an overlay, highest first."""
        with ExitStack() as held:
            count = self._known_below(tree)
            try:
                lowers = [held.enter_context(self._hold_tree(tree, count))]
            except _GoneError:
                count = len(tree.packs)
                lowers = [held.enter_context(self._hold_tree(tree, count))]
            for pack in tree.packs[count:]:
                key = f"{self.mode.value}-{_hex(pack.meta.diff_id)}"
                lowers.insert(0, held.enter_context(self._hold(key, partial(self._write_layer, pack))))
            yield lowers

    def _known_below(self, tree: StageTree) -> int:
        """Return how many of the lowest layers are unpacked already; all of them if none or too few are."""
        most = len(tree.packs)
        for count in range(most, max(tree.base_layers, most - _MOST_LAYERS) - 1, -1):
            if self.trees.has(self._key(tree, count)):
                return count
        return most

    def _key(self, tree: StageTree, count: int) -> str:
        return f"{self.mode.value}-{digest_of([_UNPACKING, tree.base_files, tree.diff_ids[:count]])}"

    def _hold_tree(self, tree: StageTree, count: int) -> AbstractContextManager[Path]:
        return self._hold(self._key(tree, count), partial(self._write_tree, tree, count))

    def _hold(self, key: str, make: Callable[[Path], int]) -> AbstractContextManager[Path]:
        from sifmake.rootless.unpacking import remove_tree

        return self.trees.hold(key, make, lambda place: remove_tree(place, self.mode))

    def _write_tree(self, tree: StageTree, count: int, place: Path) -> int:
        from sifmake.rootless.unpacking import unpack

        if count < len(tree.packs):
            raise _GoneError
        size = tree.size()
        self.choice.check_room(self.trees.folder, size)
        task = self.progress.task("unpacking", size)

        def read(inode: Entry) -> Iterable[bytes]:
            task.advance(inode.size)
            return map(bytes, tree.pieces(cast("Inode", inode)))

        unpack(tree.tree.walk(), read, place, self.mode)
        task.finish()
        return size

    def _write_layer(self, pack: Pack, place: Path) -> int:
        from sifmake.layers.content_reader import ContentReader
        from sifmake.rootless.unpacking import unpack

        contents, entries = ContentReader(pack), pack.entries()

        def read(entry: Entry) -> Iterable[bytes]:
            return map(bytes, contents.pieces(pack.contents[entry.content]))

        unpack(((entry.path, entry) for entry in entries), read, place, self.mode)
        return sum(entry.size for entry in entries)


def unpacked_place() -> Place:
    """Return the folder for unpacked trees as a place."""
    hint = "make room with `sifmake cache gc --max-age 1d`, or set SIFMAKE_TMPDIR to a folder on another file system"
    return Place("the folder for unpacked trees", UnpackedTrees.usual_folder(), hint)


def remove_unpacked(age: float) -> list[UnpackedTree]:
    """Remove unpacked trees that are not in use and were unused for that many seconds; return them."""
    from sifmake.rootless.request import Mode
    from sifmake.rootless.unpacking import remove_tree

    trees = _sweep(UnpackedTrees.usual_folder())
    if trees is None:
        return []
    modes = {mode.value: mode for mode in Mode}
    return trees.remove_unused(
        age, lambda place: remove_tree(place, modes[place.name.removeprefix(".tmp-").partition("-")[0]])
    )


def _sweep(folder: Path) -> UnpackedTrees | None:
    """Remove what killed builds have left in a folder for unpacked trees; return the trees, None without a folder."""
    if not folder.is_dir():
        return None
    trees = UnpackedTrees(folder)
    trees.sweep(_remove_left)
    return trees


def _remove_left(place: Path) -> None:
    """Remove a folder of a build that ran in whatever mode: it belongs to this user, or to ids granted to this user."""
    from sifmake.rootless.request import Mode
    from sifmake.rootless.unpacking import remove_tree

    remove_tree(place, Mode.SUBUID)


class _GoneError(Exception):
    """A tree has disappeared."""


def _hex(digest: str) -> str:
    return digest.partition(":")[2]
