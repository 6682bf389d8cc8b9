"""An image's layers as one finished tree, with its digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sifmake.errors import FlattenError, LimitError, PackDamagedError, SifmakeError
from sifmake.files import atomic_write
from sifmake.flatten.merge import Merger
from sifmake.flatten.tree_file import read_tree, write_tree
from sifmake.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sifmake.flatten.tree import Tree
    from sifmake.layers.pack_reader import Pack
    from sifmake.limits import Limits


class Merged(msgspec.Struct, frozen=True):
    """The result of merging the layers of an image.

    Attributes:
        tree: Inodes, whose contents are found by pack number and index.
        entries: Number of tar entries in all layers.
        warnings: Warnings about things that an image should not contain.
    """

    tree: Tree
    entries: int
    warnings: tuple[str, ...]


class Flattened(Merged, frozen=True):
    """A merged tree with its identity.

    Attributes:
        digest: ``sha256:`` and the digest of the canonical listing of the tree.
    """

    digest: str


def flatten(packs: Sequence[Pack], epoch: int, limits: Limits = DEFAULT_LIMITS, path: Path | None = None) -> Flattened:
    """Merge the layers and take the tree's listing; see :func:`merge`.

    Args:
        packs: One per layer.
        epoch: Time stamp, in seconds, of directories that no tar entry describes.
        limits: As for :func:`merge`.
        path: Where the tree file is written, if anywhere.
    """
    merged = merge(packs, epoch, limits)
    if path is None:
        digest = write_tree(merged.tree, packs, None)
    else:
        with atomic_write(path) as file:
            digest = write_tree(merged.tree, packs, file)
    return Flattened(merged.tree, merged.entries, merged.warnings, digest)


def merge(packs: Sequence[Pack], epoch: int, limits: Limits = DEFAULT_LIMITS) -> Merged:
    """Merge the layers, lowest first.

    Args:
        packs: One per layer.
        epoch: Time stamp, in seconds, of directories that no tar entry describes.
        limits: Provides ``entries``, ``implied_folders`` and ``path_steps``.

    Raises:
        LimitError: There are too many entries, or paths pass through too many folders.
        FlattenError: Layers cannot be merged; ``where`` names layer and path.
    """
    merger = Merger(epoch, limits)
    count = 0
    warnings: list[str] = []
    for number, pack in enumerate(packs):
        entries = pack.entries()
        count += len(entries)
        if count > limits.entries:
            what = f"the layers have more than {limits.entries} entries together (a limit)"
            raise LimitError(what, hint="raise entries (limits: in sifmake.yaml)")
        warnings += [f"layer {short(pack.meta.diff_id)}: {text}" for text in pack.meta.warnings]
        try:
            merger.apply(entries, number)
        except SifmakeError as error:
            raise error.within(f"layer {short(pack.meta.diff_id)}") from None
        # What of this layer is not in the tree goes before the next one's entries come.
        del entries
        warnings += [f"layer {short(pack.meta.diff_id)}: {text}" for text in merger.warnings]
    return Merged(merger.tree, count, tuple(warnings))


def short(digest: str) -> str:
    """Return an OCI digest shortened so that people can compare it."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}:{value[:12]}"


def load(path: Path, packs: Sequence[Pack]) -> Flattened:
    """Read a tree file; contents are looked up in packs.

    Raises:
        FlattenError: The file is damaged, or no pack has one of the contents.
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            tree, entries, digest = read_tree(file, packs)
    except (ValueError, LookupError, PackDamagedError) as error:
        what = error.what if isinstance(error, PackDamagedError) else error
        raise FlattenError(
            f"the tree does not match its packs ({what})",
            where=str(path),
            hint="delete the file and run the command again",
        ) from None
    return Flattened(tree, entries, (), digest)
