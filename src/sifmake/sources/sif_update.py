"""A new SIF file from an older one: equal ranges are copied from it, the others are fetched by HTTP Range.

Which ranges are equal is found by cutting the older file as the recipe's was cut. Nothing here decides whether the
bytes are right: whoever writes them checks the SHA-256 of the complete file.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import IntegrityError
from sifmake.ranges import READ_SIZE, read_at
from sifmake.sources.recipe_cuts import cut_sif

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from sifmake.sources.parts_ahead import PartsAhead
    from sifmake.sources.recipe import Recipe

_NEAR = 64 << 10
"""Bytes between two missing ranges below which they are fetched together."""
_MOST_REQUESTS = 64
_WORTHWHILE = 0.75
"""Part of the file above which it is fetched as a whole."""
_FETCHED = -1


class Step(NamedTuple):
    """Where consecutive bytes of the new file come from.

    Attributes:
        start: Offset in the new file.
        size: Bytes.
        source: Offset in the older file; -1 if they are fetched.
    """

    start: int
    size: int
    source: int

    @property
    def is_fetched(self) -> bool:
        """Whether the bytes are fetched."""
        return self.source == _FETCHED

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return self.start + self.size


class Update(NamedTuple):
    """How a new file is made from an older one.

    Attributes:
        fd: The older file, open for reading.
        steps: What is copied and fetched, in the order of the new file.
    """

    fd: int
    steps: Sequence[Step]

    @property
    def fetched(self) -> int:
        """Bytes that are fetched."""
        return sum(size for _, size in self.parts)

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Offset and size of what is fetched, in order."""
        return [(step.start, step.size) for step in self.steps if step.is_fetched]

    def pieces(self, parts: PartsAhead) -> Generator[bytes]:
        """Yield the bytes of the new file.

        Args:
            parts: Brings :attr:`parts`.

        Raises:
            IntegrityError: The older file became shorter or unreadable.
            NoPartsError: The server does not send parts.
            RegistryError: There is no answer.
        """
        for step in self.steps:
            yield from parts.take() if step.is_fetched else self._copied(step)

    def _copied(self, step: Step) -> Iterator[bytes]:
        for done in range(0, step.size, READ_SIZE):
            size = min(READ_SIZE, step.size - done)
            try:
                data = read_at(self.fd, size, step.source + done)
            except OSError as error:
                raise IntegrityError(f"the older file cannot be read ({error.strerror})") from None
            if len(data) != size:
                raise IntegrityError("the older file became shorter while it was read")
            yield data


def plan_update(recipe: Recipe, fd: int) -> Update | None:
    """Return how to make a file from an older one; None if most of it would have to be fetched.

    Args:
        recipe: Of the new file.
        fd: The older file, open for reading.

    Raises:
        SifError: The older file is not a SIF file.
        OSError: It cannot be read.
    """
    places = _find_ranges({item.digest for item in recipe}, cut_sif(fd, recipe.grain))
    near = _NEAR
    steps = _join(recipe, places, near)
    while sum(step.is_fetched for step in steps) > _MOST_REQUESTS:
        near *= 4
        steps = _join(recipe, places, near)
    update = Update(fd, steps)
    return update if update.fetched <= _WORTHWHILE * recipe.size else None


def _find_ranges(wanted: set[bytes], pieces: Iterable[memoryview]) -> dict[bytes, tuple[int, int]]:
    """Return offset and size of each wanted range that an older file has."""
    found: dict[bytes, tuple[int, int]] = {}
    start = 0
    for piece in pieces:
        digest = hashlib.sha256(piece).digest()
        if digest in wanted:
            found[digest] = start, len(piece)
        start += len(piece)
    return found


def _join(recipe: Recipe, places: Mapping[bytes, tuple[int, int]], near: int) -> list[Step]:
    """Return the steps in which missing ranges with fewer than ``near`` bytes between them are fetched together."""
    steps: list[Step] = []
    last = None  # index of the last step that is fetched
    for start, size, digest in recipe:
        source, known = places.get(digest, (_FETCHED, size))
        if known != size:  # a recipe that lies about a size
            source = _FETCHED
        if source == _FETCHED and last is not None and start - steps[last].end < near:
            del steps[last + 1 :]
            steps[last] = Step(steps[last].start, start + size - steps[last].start, _FETCHED)
        elif source != _FETCHED and steps and not steps[-1].is_fetched and steps[-1].source + steps[-1].size == source:
            steps[-1] = steps[-1]._replace(size=steps[-1].size + size)
        else:
            steps.append(Step(start, size, source))
            last = len(steps) - 1 if source == _FETCHED else last
    return steps
