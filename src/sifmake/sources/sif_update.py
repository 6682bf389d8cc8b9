"""Make a new SIF file from an older one: copy equal ranges, and download the others with HTTP Range.

Equal ranges are found by cutting the older file like the recipe's file. This module does not check the bytes: the
caller that writes them checks the SHA-256 of the complete file.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import IntegrityError
from sifmake.ranges import READ_SIZE, read_at
from sifmake.sources.recipe_cuts import cut_sif

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from sifmake.sources.parts_ahead import PartsAhead
    from sifmake.sources.recipe import Recipe

_NEAR = 64 << 10
"""Missing ranges with fewer bytes between them are downloaded together."""
_MOST_REQUESTS = 64
_WORTHWHILE = 0.75
"""If a larger part of the file is missing, the whole file is downloaded."""
_FETCHED = -1


class UpdateStep(NamedTuple):
    """Where consecutive bytes of the new file come from.

    Attributes:
        start: Offset in the new file.
        size: Bytes.
        source: Offset in the older file; -1 if they are downloaded.
    """

    start: int
    size: int
    source: int

    @property
    def is_fetched(self) -> bool:
        """Whether the bytes are downloaded."""
        return self.source == _FETCHED

    @property
    def end(self) -> int:
        """Offset after the last byte."""
        return self.start + self.size


class Update(NamedTuple):
    """A plan to make a new file from an older one.

    Attributes:
        fd: The older file, open for reading.
        steps: What to copy and download, in the order of the new file.
    """

    fd: int
    steps: Sequence[UpdateStep]

    @property
    def fetched(self) -> int:
        """Bytes to download."""
        return sum(size for _, size in self.parts)

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Offset and size of the ranges to download, in order."""
        return [(step.start, step.size) for step in self.steps if step.is_fetched]

    def pieces(self, parts: PartsAhead) -> Generator[bytes]:
        """Yield the bytes of the new file.

        Args:
            parts: Brings :attr:`parts`.

        Raises:
            IntegrityError: The older file was truncated or is unreadable.
            NoPartsError: The server does not send parts.
            RegistryError: There is no answer.
        """
        for step in self.steps:
            yield from parts.take() if step.is_fetched else self._copied(step)

    def _copied(self, step: UpdateStep) -> Iterator[bytes]:
        for done in range(0, step.size, READ_SIZE):
            size = min(READ_SIZE, step.size - done)
            try:
                data = read_at(self.fd, size, step.source + done)
            except OSError as error:
                raise IntegrityError(f"the older file cannot be read ({error.strerror})") from None
            if len(data) != size:
                raise IntegrityError("the older file was truncated while it was read")
            yield data


def plan_update(recipe: Recipe, fd: int, ranges: Mapping[bytes, tuple[int, int]] | None = None) -> Update | None:
    """Plan to make a file from an older one; None if most of it must be downloaded anyway.

    Args:
        recipe: Recipe of the new file.
        fd: The older file, open for reading.
        ranges: Its ranges with the recipe's grain, if they are known; see :func:`find_ranges`.

    Raises:
        SifError: The older file is not a SIF file.
        OSError: It cannot be read.
    """
    places = find_ranges(fd, recipe.grain) if ranges is None else ranges
    near = _NEAR
    steps = _join(recipe, places, near)
    while sum(step.is_fetched for step in steps) > _MOST_REQUESTS:
        near *= 4
        steps = _join(recipe, places, near)
    update = Update(fd, steps)
    return update if update.fetched <= _WORTHWHILE * recipe.size else None


def find_ranges(fd: int, grain: int, stopped: Callable[[], bool] = lambda: False) -> dict[bytes, tuple[int, int]]:
    """Return offset and size of each range of an older file by its SHA-256.

    Args:
        fd: The file, open for reading.
        grain: How finely to cut it.
        stopped: Tells whether nobody needs the ranges any more.

    Raises:
        SifError: It is not a SIF file.
        OSError: It cannot be read.
    """
    found: dict[bytes, tuple[int, int]] = {}
    start = 0
    for piece in cut_sif(fd, grain):
        if stopped():
            break
        found[hashlib.sha256(piece).digest()] = start, len(piece)
        start += len(piece)
    return found


def _join(recipe: Recipe, places: Mapping[bytes, tuple[int, int]], near: int) -> list[UpdateStep]:
    """Return steps that join missing ranges with fewer than ``near`` bytes between them."""
    steps: list[UpdateStep] = []
    last = None  # index of the last download step
    for start, size, digest in recipe:
        source, known = places.get(digest, (_FETCHED, size))
        if known != size:  # a recipe that lies about a size
            source = _FETCHED
        if source == _FETCHED and last is not None and start - steps[last].end < near:
            del steps[last + 1 :]
            steps[last] = UpdateStep(steps[last].start, start + size - steps[last].start, _FETCHED)
        elif source != _FETCHED and steps and not steps[-1].is_fetched and steps[-1].source + steps[-1].size == source:
            steps[-1] = steps[-1]._replace(size=steps[-1].size + size)
        else:
            steps.append(UpdateStep(start, size, source))
            last = len(steps) - 1 if source == _FETCHED else last
    return steps
