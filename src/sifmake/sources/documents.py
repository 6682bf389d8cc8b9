"""The documents of one image as they come from a registry: the last ones used are kept, all are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import LimitError

if TYPE_CHECKING:
    from sifmake.limits import Limits


class FetchedDocuments:
    """Keeps documents by digest, so that none is fetched twice as long as there is room."""

    def __init__(self, limits: Limits) -> None:
        self._room = limits.documents_bytes
        self._most = limits.documents_fetched
        self._fetched = 0
        self._kept: dict[str, bytes] = {}

    def get(self, digest: str) -> bytes | None:
        """Return a document that is still here, or None."""
        data = self._kept.pop(digest, None)
        if data is not None:
            self._kept[digest] = data  # the last one used goes last
        return data

    def put(self, digest: str, data: bytes) -> None:
        """Take a document that was fetched.

        Raises:
            LimitError: All that were fetched for this image are more than the limit.
        """
        self._fetched += len(data)
        if self._fetched > self._most:
            raise LimitError(
                f"the image's indexes, manifests and configs have more than {self._most} bytes together",
                hint="name the manifest by its digest, or set documents-fetched under limits",
            )
        self._kept[digest] = data
        self._room -= len(data)
        while self._room < 0:
            self._room += len(self._kept.pop(next(iter(self._kept))))
