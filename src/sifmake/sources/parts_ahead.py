"""Requesting small parts of a blob before they are needed, so that they do not wait for each other to arrive."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from sifmake.registry.part_reader import NoPartsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from sifmake.registry.part_reader import PartReader
    from sifmake.threads import Threads

AHEAD = 4
"""Most parts that are requested at the same time."""
_SMALL = 1 << 20
"""Bytes of a part above which its transfer takes longer than its request, and its memory is not spent."""


class PartsAhead:
    """The parts of a blob in their order; the next ones are on their way while one is used."""

    def __init__(self, reader: PartReader, wanted: Iterable[tuple[int, int]], threads: Threads) -> None:
        """Prepare; nothing is sent yet.

        Args:
            reader: Reads the blob.
            wanted: Offset and size of each part, in the order in which they are taken.
            threads: Their number bounds what is requested at the same time.
        """
        self._reader = reader
        self._wanted = deque(wanted)
        self._begun: deque[Future[bytes]] = deque()
        self._threads = threads

    def take(self) -> Iterator[bytes]:
        """Yield the bytes of the next part.

        The first one is requested alone, because a server that ignores Range would send the complete file each time.

        Raises:
            NoPartsError: The server does not send parts.
            RegistryError: There is no answer.
        """
        start, size = self._wanted.popleft()
        if self._begun:
            yield self._begun.popleft().result()
        else:
            yield from self._reader.read(start, size)
        self._request_more()

    def _request_more(self) -> None:
        while len(self._begun) < min(AHEAD, len(self._wanted)):
            start, size = self._wanted[len(self._begun)]
            if size > _SMALL:
                break
            self._begun.append(self._threads.submit(self._read, start, size))

    def _read(self, start: int, size: int) -> bytes:
        try:
            return b"".join(self._reader.read(start, size))
        except NoPartsError as error:
            if error.answer is not None:  # nobody may be left to close it
                error.answer.close()
                error.answer = None
            raise
