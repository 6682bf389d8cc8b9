"""Read parts of one blob with HTTP Range (RFC 9110, section 14), from servers that may ignore or misread it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sifmake.errors import RegistryError
from sifmake.registry.transport import BROKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.registry.mirrors import BlobRoute
    from sifmake.registry.settings import RetryPolicy
    from sifmake.registry.transport import Response

_CHUNK = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes\s+(\d{1,19})-(\d{1,19})/(\d{1,19}|\*)\Z")


class NoPartsError(RegistryError):
    """The server does not send parts of this blob.

    Attributes:
        answer: Its answer, if it began to send the complete blob instead; the caller that catches the error closes it.
    """

    answer: Response | None = None


class PartReader:
    """Reads parts of a blob at the first of its places; the caller checks digests."""

    def __init__(self, way: BlobRoute, size: int, policy: RetryPolicy) -> None:
        """Prepare; nothing is sent yet.

        Args:
            way: Requests the blob.
            size: Bytes of the complete blob.
            policy: How often a broken connection is replaced, for all parts together.
        """
        self._way = way
        self._size = size
        self._policy = policy
        self._attempt = 1

    def read(self, start: int, size: int) -> Iterator[bytes]:
        """Yield the bytes of a part as they arrive.

        Raises:
            NoPartsError: The server ignores Range, answers with another part, or broke off too often.
            RegistryError: There is no answer.
        """
        end = start + size
        while start < end:
            response = self._request(start, end)
            try:
                while start < end:
                    data = response.read(min(end - start, _CHUNK))
                    if not data:
                        raise ConnectionError("the connection ended")
                    start += len(data)
                    yield data
            except BROKEN as error:
                self._recover(error)
            finally:
                response.close()

    def _request(self, start: int, end: int) -> Response:
        """Return an answer whose body is the part."""
        response = self._way.request({"Range": f"bytes={start}-{end - 1}"})
        if response.status == 206 and self._is_part(response, start, end):
            return response
        refused = NoPartsError(f"the server sends no parts of a file (status {response.status})")
        refused.where = self._way.endpoint.host
        if response.status == 200 and response.length in (None, self._size):
            refused.answer = response
        else:
            response.close()
        raise refused

    def _is_part(self, response: Response, start: int, end: int) -> bool:
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if match is None or match[3] not in ("*", str(self._size)):
            return False
        return (int(match[1]), int(match[2]) + 1) == (start, end) and response.length in (None, end - start)

    def _recover(self, error: Exception) -> None:
        self._attempt += 1
        if self._attempt > self._policy.attempts:
            what = f"the transfer of parts was interrupted {self._policy.attempts} times ({str(error)[:120]})"
            raise NoPartsError(what, where=self._way.endpoint.host) from None
        self._way.endpoint.pause(self._attempt)
