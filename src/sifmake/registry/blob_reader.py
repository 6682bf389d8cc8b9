"""Reading one blob over an unreliable connection: repeated, resumed after a break, given up if it stalls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError, RegistryError, SourceError, WrongBlobError
from sifmake.registry.error_responses import NotFoundError, error_from_response
from sifmake.registry.mirrors import MIRROR_ATTEMPTS
from sifmake.registry.transport import BROKEN

if TYPE_CHECKING:
    from sifmake.registry.mirrors import BlobRoute
    from sifmake.registry.settings import RetryPolicy
    from sifmake.registry.transport import Response

_PROGRESS = 64 * 1024
"""Bytes that must arrive before the count of attempts starts again."""
_SKIP_CHUNK = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes\s+(\d{1,19})-(\d{1,19})/(\d{1,19}|\*)\Z")


class RangedReader:
    """Reads a blob once, from its first byte to its last.

    The caller checks the digest. The size is checked here, and at most one byte beyond it is read.
    """

    def __init__(self, way: BlobRoute, size: int, policy: RetryPolicy) -> None:
        """Prepare a transfer; the first read makes the first request.

        Args:
            way: Requests the blob from one place after the other.
            size: Bytes that the blob must have.
            policy: When to try again.
        """
        self._way = way
        self._size = size
        self._policy = policy
        self._position = 0
        self._attempt = 1
        self._mark = 0
        self._etag = ""
        self._may_range = True
        self._response: Response | None = None

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, empty at the end.

        Raises:
            RegistryError: The blob is not available.
            IntegrityError: It is longer or shorter than it should be.
        """
        while self._position < self._size:
            try:
                data = self._read_some(min(size, self._size - self._position))
            except BROKEN as error:
                self._recover(error)
                continue
            except SourceError as error:
                self._go_elsewhere(error)
                continue
            self._position += len(data)
            return data
        self._check_end()
        return b""

    def open(self) -> None:
        """Make the first request now, so that its errors are known.

        Raises:
            SourceError: As for :meth:`read`.
        """
        while self._response is None and self._position < self._size:
            try:
                self._response = self._connect()
            except SourceError as error:
                self._go_elsewhere(error)

    def take(self, response: Response) -> None:
        """Start with an answer that has already arrived, with status 200."""
        self._begin(response)
        self._response = response

    def close(self) -> None:
        """Give up the connection."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def _read_some(self, size: int) -> bytes:
        if self._response is None:
            self._response = self._connect()
        data = self._response.read(size)
        if not data:
            raise ConnectionError(f"the connection ended after {self._position} of {self._size} bytes")
        return data

    def _recover(self, error: Exception) -> None:
        self.close()
        if self._position - self._mark >= _PROGRESS:
            self._attempt = 1
        self._mark = self._position
        self._attempt += 1
        most = self._policy.attempts if self._way.is_last else min(self._policy.attempts, MIRROR_ATTEMPTS)
        if self._attempt > most:
            what = f"the transfer was interrupted {most} times"
            after = f"lastly after {self._position} of {self._size} bytes ({str(error)[:120]})"
            hint = "try again: layers that arrived completely are kept"
            self._go_elsewhere(RegistryError(f"{what}, {after}", where=self._way.endpoint.host, hint=hint))
            return
        self._way.endpoint.pause(self._attempt)

    def _go_elsewhere(self, error: SourceError) -> None:
        """Continue at the next place, or raise the error if there is none."""
        self.close()
        if not self._way.move_on(error, mixed=self._position > 0):
            raise error from None
        self._attempt, self._mark = 1, self._position
        self._etag, self._may_range = "", True

    def _connect(self) -> Response:
        """Request the rest of the blob; return an answer whose body starts at the interruption."""
        headers = {}
        if self._position and self._may_range:
            headers["Range"] = f"bytes={self._position}-"
            if self._etag:
                headers["If-Range"] = self._etag
        response = self._way.request(headers)
        if response.status == 206 and self._continues(response):
            return response
        if response.status in (206, 416) and headers:
            response.close()
            self._may_range = False
            return self._connect()
        if response.status != 200:
            return self._refuse(response)
        self._begin(response)
        return response

    def _continues(self, response: Response) -> bool:
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        return match is not None and int(match[1]) == self._position and match[3] in ("*", str(self._size))

    def _begin(self, response: Response) -> None:
        """Read the blob from its start, skipping the bytes before the interruption."""
        if response.length is not None and response.length != self._size:
            response.close()
            raise IntegrityError(
                f"the registry offers {response.length} bytes, the manifest says {self._size}",
                where=self._way.endpoint.host,
                hint="the registry's copy is damaged, or a proxy changes it",
            )
        etag = response.headers.get("ETag", "")
        self._etag = etag if etag.startswith('"') else ""
        left = self._position
        while left > 0:
            data = response.read(min(left, _SKIP_CHUNK))
            if not data:
                response.close()
                raise ConnectionError("the connection ended")
            left -= len(data)

    def _refuse(self, response: Response) -> Response:
        try:
            error = error_from_response(response, self._way.endpoint.host)
        finally:
            response.close()
        if isinstance(error, NotFoundError):
            error.what = error.what.replace("no such image", "no such blob")
            error.hint = "a part of the image is missing from the registry; push the image again"
        raise error

    def _check_end(self) -> None:
        """Check whether an answer of unknown length continues after the last byte."""
        if self._response is None:
            return
        try:
            surplus = self._response.length is None and self._response.read(1)
        except BROKEN:
            surplus = False
        if surplus:
            raise WrongBlobError(f"the registry sends more than the {self._size} bytes that the manifest says")
        self.close()
