"""Documents of one image from a registry: the most recently used ones are kept, all are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import LimitError

if TYPE_CHECKING:
    from sifmake.limits import Limits


class FetchedDocuments:
    """Keeps documents by digest, so that none is fetched twice while there is room."""

    def __init__(self, limits: Limits) -> None:
        self._room = limits.documents_bytes
        self._most = limits.documents_fetched
        self._fetched = 0
        self._kept: dict[str, bytes] = {}

    def get(self, digest: str) -> bytes | None:
        """Return a document if it is still kept, else None."""
        data = self._kept.pop(digest, None)
        if data is not None:
            self._kept[digest] = data  # move it to the end: the last one used is dropped last
        return data

    def put(self, digest: str, data: bytes) -> None:
        """Keep a fetched document.

        Raises:
            LimitError: The documents fetched for this image exceed the limit.
        """
        self._fetched += len(data)
        if self._fetched > self._most:
            raise LimitError(
                f"the image's indexes, manifests and configs have more than {self._most} bytes together",
                hint="use the manifest's digest, or raise documents-fetched (limits: in sifmake.yaml)",
            )
        self._kept[digest] = data
        self._room -= len(data)
        while self._room < 0:
            self._room += len(self._kept.pop(next(iter(self._kept))))
