"""The store of layer packs, documents and finished files: list it, check it, clean it up, copy it to another site."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sifmake.api.cache_results import CacheCheck, CachedFile, CacheExport, CacheImport, CacheRemoval
from sifmake.api.common import StrPath, as_names, output_file
from sifmake.errors import StoreError, UsageError
from sifmake.progress import Progress, Silent, tell_failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from sifmake.limits import Limits
    from sifmake.steps.unpacked_trees import UnpackedTree
    from sifmake.store import Store
    from sifmake.store.items import Item


class Cache:
    """The store, with the operations of ``sifmake cache``.

    Attributes:
        root: Folder whose ``sifmake.yaml`` names the store.
    """

    def __init__(self, root: StrPath = ".", *, progress: Progress | None = None) -> None:
        """Open the store.

        Args:
            root: Folder whose ``sifmake.yaml`` names the store; by default ``$SIFMAKE_CACHE``, else the user's store.
            progress: Gets an error for each file that is damaged or not trusted.

        Raises:
            ConfigError: The configuration is not valid.
            StoreError: The store cannot be used.
        """
        self.root = Path(root)
        self._progress = progress or Silent()
        self._store, self._limits = _open(self.root, self._progress)

    def __repr__(self) -> str:
        return f"Cache(folder={str(self.folder)!r})"

    @property
    def folder(self) -> Path:
        """The folder of the store."""
        return self._store.root

    @property
    def read_only_folders(self) -> tuple[Path, ...]:
        """Further stores that are read and never written."""
        return tuple(self._store.read_only)

    def files(self) -> tuple[CachedFile, ...]:
        """Return all files of the store, and the unpacked trees of builds."""
        from sifmake.steps.unpacked_trees import list_trees

        return (*map(_file_of, self._items()), *map(_file_of_tree, list_trees()))

    def verify(self) -> CacheCheck:
        """Check every file against its digest or checksums, and every pack against its layer; remove damaged ones."""
        from sifmake.store.items import Item, Stray, list_odd_marks, walk

        store = self._store
        found = [*walk(store.root, rules=store.rules), *list_odd_marks(store.root, store.rules)]
        strays = [one for one in found if isinstance(one, Stray)]
        for stray in strays:
            what = f"{stray.path}: {stray.why}; it is not used and was left in place; find out who put it there"
            tell_failure(self._progress, what)
        items = [one for one in found if isinstance(one, Item)]
        verdicts = [self._check(item) for item in items]
        unproven = tuple(item.name for item, verdict in zip(items, verdicts, strict=True) if verdict == "unproven")
        return CacheCheck(len(items), verdicts.count("damaged"), verdicts.count("foreign") + len(strays), unproven)

    def _check(self, item: Item) -> str:
        """Check one file; return ``damaged``, ``foreign`` for a file that is not trusted, ``unproven``, or nothing."""
        why, foreign = self._trouble(item)
        if why:
            # Another process may have removed the file and made it again during the check.
            why, foreign = ("", False) if item.is_gone() else self._trouble(item)
        if foreign:
            tell_failure(self._progress, f"{item.kind} {item.name}: {why}; it is not used and was left in place")
        elif why:
            self._drop(item, why)
        if foreign:
            return "foreign"
        return "damaged" if why else self._unproven(item)

    def _unproven(self, item: Item) -> str:
        from sifmake.builder.cache_exchange import why_unproven

        why = why_unproven(item)
        if why:
            self._progress.info(f"{item.kind} {item.name}: {why}, so nothing but its owner speaks for it")
        return "unproven" if why else ""

    def _trouble(self, item: Item) -> tuple[str, bool]:
        """Return what is wrong with a file, and whether it belongs to someone who is not trusted."""
        from sifmake.builder.cache_exchange import proves_itself, why_damaged

        why = item.why_not()
        if why and item.owner not in (-1, os.geteuid()):
            return ("", False) if proves_itself(item, self._limits) else (why, True)
        return why or why_damaged(self._store, item), False

    def _drop(self, item: Item, why: str) -> None:
        what = f"{item.kind} {item.name}: {why}"
        try:
            item.remove()
        except (OSError, StoreError) as error:
            tell_failure(self._progress, f"{what}; it cannot be removed: {error}")
        else:
            tell_failure(self._progress, f"{what}; removed; it will be rebuilt when it is needed")

    def collect(
        self,
        *,
        max_size: int | str | None = None,
        max_age: timedelta | str | None = None,
        dry_run: bool = False,
    ) -> CacheRemoval:
        """Remove the files that have been unused for longest; files used within a day are kept.

        Args:
            max_size: Bytes that may remain, or a text such as ``20G``.
            max_age: Remove files that have been unused for this long: a time, or a text such as ``30d``.
            dry_run: Whether to remove nothing and only report.

        Raises:
            UsageError: Neither limit is given, or a text is not a size or time.
        """
        from sifmake.store.collect import choose_items, key_of, parse_age, parse_size
        from sifmake.store.items import list_items
        from sifmake.store.naming import PACKS, SIFS

        if max_size is None and max_age is None:
            raise UsageError("a limit is missing", hint="give max_size or max_age")
        size = parse_size(max_size) if isinstance(max_size, str) else max_size
        age = parse_age(max_age) if isinstance(max_age, str) else max_age.total_seconds() if max_age else None
        store = self._store
        items = self._items()
        others = (item for path in store.read_only for item in list_items(path, SIFS, PACKS, rules=store.site_rules))
        elsewhere = {key_of(item) or item.name for item in others}
        trees = _remove_trees(age, dry_run=dry_run)
        done = self._remove(choose_items(items, time.time(), size, age, elsewhere), dry_run=dry_run)
        return replace(done, removed=(*done.removed, *trees))

    def clean(self, *, dry_run: bool = False) -> CacheRemoval:
        """Empty the store.

        Args:
            dry_run: Whether to remove nothing and only report.
        """
        trees = _remove_trees(0, dry_run=dry_run)
        done = self._remove(self._items(), dry_run=dry_run)
        return replace(done, removed=(*done.removed, *trees))

    def export_archive(
        self, target: StrPath | BinaryIO, images: str | Iterable[str] = (), *, force: bool = False
    ) -> CacheExport:
        """Write the files of images to a tar archive, for a site without a network.

        Args:
            target: A path, at which the file appears when it is complete, or an open file, which may be a pipe.
            images: Digests, references with a digest, lock files, or names of images with a lock in ``root``;
                by default the whole store.
            force: Whether to replace an existing file.

        Raises:
            TargetExistsError: The file exists and ``force`` is not set.
            UsageError: A word is none of these.
            StoreError: The store lacks a part of an image.
            OSError: The archive cannot be written.
        """
        from sifmake.builder.archive_parts import find_parts
        from sifmake.builder.cache_exchange import everything, select
        from sifmake.places import Place, store_place, telling_places
        from sifmake.store.exchange import write_archive

        words = as_names(images)
        items = select(self._store, find_parts(words, self.root)) if words else everything(self._store)
        if isinstance(target, str | os.PathLike):
            with (
                telling_places(store_place(self.folder), Place("the archive", Path(target))),
                output_file(target, force=force) as file,
            ):
                return CacheExport(*write_archive(items, file))
        return CacheExport(*write_archive(items, target))

    def import_archive(self, source: StrPath, *, trust_steps: bool = False) -> CacheImport:
        """Check each file of an exported archive and add it to the store.

        Args:
            source: The archive. It need not be trusted, except for packs that cannot prove themselves.
            trust_steps: Whether its notes on steps count as your own; otherwise, they count only if a trusted key
                signed them, or if the project's lock of steps names the same layers.

        Raises:
            StoreError: The archive is damaged, or holds a file that does not belong in a store.
            OSError: The archive cannot be read, or the store cannot be written.
        """
        from sifmake.builder.cache_exchange import check_pack
        from sifmake.places import store_place, telling_places
        from sifmake.steps.step_notes import foreign_note
        from sifmake.store.exchange import read_archive

        unproven: list[str] = []
        with telling_places(store_place(self.folder)):
            done = read_archive(
                self._store,
                Path(source),
                lambda path: check_pack(path, self._limits, unproven.append),
                self._limits,
                kept_note=partial(foreign_note, trusted=trust_steps),
            )
        return CacheImport(tuple(done.new), done.known, tuple(done.left_out), done.steps, tuple(unproven))

    def _items(self) -> list[Item]:
        from sifmake.store.items import list_items

        return list(list_items(self._store.root, rules=self._store.rules))

    def _remove(self, items: Sequence[Item], *, dry_run: bool) -> CacheRemoval:
        from sifmake.store.collect import remove

        kept: dict[Item, str] = {}
        if not dry_run:
            kept = remove(items)
            self._store.sweep()
        gone = tuple(_file_of(item) for item in items if item not in kept)
        left = sum(item.size for item in self._items())
        return CacheRemoval(gone, tuple((_file_of(item), why) for item, why in kept.items()), left)


def _open(root: Path, progress: Progress) -> tuple[Store, Limits]:
    """Return the store of the project in a folder, else the user's, and the limits that apply."""
    from sifmake.project.configuration import Configuration, has_settings

    if not has_settings(root):
        usual = Configuration()
        return usual.open_store(progress), usual.limits
    from sifmake.project.project import Project

    project = Project(root, progress=progress)
    return project.store, project.configuration.limits


def _file_of(item: Item) -> CachedFile:
    title = ""
    if item.kind == "step":
        from sifmake.steps.step_notes import title_in

        title = title_in(item)
    return CachedFile(item.kind, item.name, item.size, _moment(item.used), item.path, title)


def _file_of_tree(tree: UnpackedTree) -> CachedFile:
    return CachedFile("tree", tree.key, tree.size, _moment(tree.used), tree.place)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds).astimezone()


def _remove_trees(age: float | None, *, dry_run: bool) -> list[CachedFile]:
    """Remove the unpacked trees that no build uses: those that were not used for a day, or for that many seconds."""
    from sifmake.builder.step_trees import remove_unpacked
    from sifmake.steps.unpacked_trees import DAY, list_trees

    least = DAY if age is None else age
    if dry_run:
        return [_file_of_tree(tree) for tree in list_trees() if time.time() - tree.used >= least]
    return [_file_of_tree(tree) for tree in remove_unpacked(least)]
