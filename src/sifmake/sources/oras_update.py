"""Download a SIF file from a registry, transferring only what differs from an older version."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from threading import Event
from typing import TYPE_CHECKING

from sifmake.errors import LimitError, SifError, SifmakeError, SourceError
from sifmake.registry.part_reader import NoPartsError
from sifmake.sources.parts_ahead import AHEAD, PartsAhead
from sifmake.sources.recipe_cuts import grain_for
from sifmake.sources.recipe_referrer import find_recipe
from sifmake.sources.sif_file import write_sif
from sifmake.sources.sif_update import find_ranges, plan_update
from sifmake.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import Self

    from sifmake.oci.model import Descriptor
    from sifmake.registry.client import RegistryClient
    from sifmake.sources.recipe import Recipe
    from sifmake.sources.settings import SourceSettings
    from sifmake.sources.sif_update import Update

_WHOLE = "the complete file will be downloaded"
_MOST_TIMES = 4
"""How many times larger an older file may be: all of it is read, and only so much can be of use."""


def update_sif(client: RegistryClient, settings: SourceSettings, layer: Descriptor, subject: str, path: Path) -> str:
    """Write a SIF file from an older version and the ranges that changed.

    Args:
        client: Client of the file's repository.
        settings: Opens the older versions, sets limits, receives messages.
        layer: The blob of the file.
        subject: Digest of the file's manifest.
        path: The target; unchanged unless the complete file has its digest.

    Returns:
        The SHA-256 of the file, as ``sha256:...``; empty if nothing was written, for any reason that does not concern
        the complete file.

    Raises:
        NoPartsError: The server does not send parts of the file.
        LimitError: The file is too large.
        OSError: It cannot be written.
    """
    with ExitStack() as opened:
        older = [fd for fd in (open_older() for open_older in settings.older) if fd is not None]
        for fd in older:
            opened.callback(os.close, fd)
        if not older:
            return ""
        ahead = opened.enter_context(_RangesAhead(older[0], layer.size))
        recipe = _find(client, settings, layer, subject)
        update = _plan(recipe, older, ahead) if recipe else None
        return _write(client, settings, layer, update, path) if update else ""


class _RangesAhead:
    """The ranges of an older file, which are found while the recipe is on its way.

    Args:
        fd: The older file, open for reading.
        size: Bytes of the new file, on which the grain depends.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._stopped = Event()
        self._threads = Threads(1, "older")
        self._which = fd, grain_for(size)
        self._found = self._threads.submit(find_ranges, *self._which, self._stopped.is_set)

    def of(self, fd: int, grain: int) -> Mapping[bytes, tuple[int, int]] | None:
        """Return the ranges; None if they are those of another file, or cut with another grain.

        Raises:
            SifError: It is not a SIF file.
            OSError: It cannot be read.
        """
        return self._found.result() if (fd, grain) == self._which else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._threads.shutdown()


def _find(client: RegistryClient, settings: SourceSettings, layer: Descriptor, subject: str) -> Recipe | None:
    try:
        return find_recipe(client, subject, layer, settings.limits.recipe_bytes)
    except SifmakeError as error:
        settings.progress.info(f"{error}: {_WHOLE}")
        return None


def _plan(recipe: Recipe, older: Iterable[int], ahead: _RangesAhead) -> Update | None:
    """Return an update from the first older file that saves enough."""
    for fd in older:
        try:
            if os.fstat(fd).st_size > _MOST_TIMES * recipe.size:
                continue
            update = plan_update(recipe, fd, ahead.of(fd, recipe.grain))
        except (SifError, OSError):  # it need not be a SIF file, nor readable, to be replaced
            continue
        if update is not None:
            return update
    return None


def _write(client: RegistryClient, settings: SourceSettings, layer: Descriptor, update: Update, path: Path) -> str:
    task = settings.progress.task(path.name, layer.size)
    try:
        with Threads(AHEAD, "part", client.close) as threads:
            parts = PartsAhead(client.part_reader(layer), update.parts, threads)
            with closing(update.pieces(parts)) as pieces:
                limit = settings.limits.layer_bytes
                written = write_sif(path, lambda _: next(pieces, b""), task, limit=limit, expected=layer.digest)
    except NoPartsError as error:
        task.finish("no parts, downloading the whole file")
        settings.progress.info(f"{error}: {_WHOLE}")
        raise
    except LimitError:
        raise
    except SourceError as error:
        task.finish("wrong bytes, downloading again")
        settings.progress.warning(f"the update from an older version failed ({error}): {_WHOLE}")
        return ""
    settings.progress.info(
        f"{path.name}: {update.fetched} of {layer.size} bytes downloaded, the rest was in an older version"
    )
    return written
