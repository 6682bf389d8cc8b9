"""The folders that a step runs on: its tree and layers, unpacked, and kept for the next build."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

from sifmake.places import Place
from sifmake.steps.step_key import digest_of
from sifmake.steps.unpacked_trees import UnpackedTrees

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sifmake.layers.entry import Entry, Inode
    from sifmake.layers.pack_reader import Pack
    from sifmake.progress import Progress
    from sifmake.rootless.modes import Choice
    from sifmake.steps.stage_tree import StageTree
    from sifmake.steps.unpacked_trees import UnpackedTree

_UNPACKING = 2
"""Increase this number when trees are unpacked differently."""
_MOST_LAYERS = 30
"""Most layers over an unpacked tree; the kernel accepts some hundreds, but each makes lookups slower."""


class StepTrees:
    """Provides these folders for one build.

    Args:
        trees: Where they are.
        choice: How steps run.
        progress: Receives messages.
    """

    def __init__(self, trees: UnpackedTrees, choice: Choice, progress: Progress) -> None:
        self._trees = trees
        self._choice = choice
        self._mode = choice.mode
        self._progress = progress

    @contextmanager
    def hold(self, tree: StageTree) -> Iterator[list[Path]]:
        """Provide the folders of an overlay, highest first."""
        with ExitStack() as held:
            count = self._known_below(tree)
            try:
                lowers = [held.enter_context(self._hold_tree(tree, count))]
            except _GoneError:
                count = len(tree.packs)
                lowers = [held.enter_context(self._hold_tree(tree, count))]
            for pack in tree.packs[count:]:
                key = f"{self._mode.value}-{digest_of([_UNPACKING, pack.meta.diff_id])}"
                lowers.insert(0, held.enter_context(self._hold(key, partial(self._write_layer, pack))))
            yield lowers

    def _known_below(self, tree: StageTree) -> int:
        """Return how many of the lowest layers are unpacked already; all of them if none or too few are."""
        most = len(tree.packs)
        for count in range(most, max(tree.base_layers, most - _MOST_LAYERS) - 1, -1):
            if self._trees.has(self._key(tree, count)):
                return count
        return most

    def _key(self, tree: StageTree, count: int) -> str:
        return f"{self._mode.value}-{digest_of([_UNPACKING, tree.base_files, tree.diff_ids[:count]])}"

    def _hold_tree(self, tree: StageTree, count: int) -> AbstractContextManager[Path]:
        return self._hold(self._key(tree, count), partial(self._write_tree, tree, count))

    def _hold(self, key: str, make: Callable[[Path], int]) -> AbstractContextManager[Path]:
        from sifmake.rootless.unpacking import remove_tree

        return self._trees.hold(key, make, lambda place: remove_tree(place, self._mode))

    def _write_tree(self, tree: StageTree, count: int, place: Path) -> int:
        from sifmake.rootless.unpacking import unpack

        if count < len(tree.packs):
            raise _GoneError
        size = tree.size()
        self._choice.check_room(self._trees.folder, size)
        task = self._progress.task("unpacking", size)

        def read(inode: Entry) -> Iterable[bytes]:
            task.advance(inode.size)
            return map(bytes, tree.pieces(cast("Inode", inode)))

        unpack(tree.tree.walk(), read, place, self._mode)
        task.finish()
        return size

    def _write_layer(self, pack: Pack, place: Path) -> int:
        from sifmake.layers.content_reader import ContentReader
        from sifmake.rootless.unpacking import unpack

        contents, entries = ContentReader(pack), pack.entries()

        def read(entry: Entry) -> Iterable[bytes]:
            return map(bytes, contents.pieces(pack.contents[entry.content]))

        unpack(((entry.path, entry) for entry in entries), read, place, self._mode)
        return sum(entry.size for entry in entries)


def unpacked_place() -> Place:
    """Return the folder for unpacked trees as a place."""
    hint = "make room with `sifmake cache gc --max-age 1d`, or set SIFMAKE_TMPDIR to a folder on another file system"
    return Place("the folder for unpacked trees", UnpackedTrees.usual_folder(), hint)


def remove_unpacked(age: float) -> list[UnpackedTree]:
    """Remove unpacked trees that are not in use and were unused for that many seconds; return them."""
    from sifmake.rootless.request import Mode
    from sifmake.rootless.unpacking import remove_tree

    trees = sweep_unpacked(UnpackedTrees.usual_folder())
    if trees is None:
        return []
    modes = {mode.value: mode for mode in Mode}
    return trees.remove_unused(
        age, lambda place: remove_tree(place, modes[place.name.removeprefix(".tmp-").partition("-")[0]])
    )


def sweep_unpacked(folder: Path) -> UnpackedTrees | None:
    """Remove what killed builds have left in a folder for unpacked trees; return the trees, None without a folder."""
    if not folder.is_dir():
        return None
    trees = UnpackedTrees(folder)
    trees.sweep(remove_left)
    return trees


def remove_left(place: Path) -> None:
    """Remove a folder of a build that ran in whatever mode: it belongs to this user, or to ids granted to this user."""
    from sifmake.rootless.request import Mode
    from sifmake.rootless.unpacking import remove_tree

    remove_tree(place, Mode.SUBUID)


class _GoneError(Exception):
    """A tree has disappeared."""
