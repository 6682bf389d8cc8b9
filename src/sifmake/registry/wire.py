"""Reading from a connection with bounds on an answer's head and on the rate of its body (RFC 9112)."""

from __future__ import annotations

import http.client
import io
import re
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

    from _typeshed import WriteableBuffer

    from sifmake.registry.settings import RetryPolicy

_INTERIM = re.compile(rb"HTTP/1\.\d 1\d\d[ \r\n]")


class _StalledError(OSError):
    """A transfer is so slow that it is treated as broken."""


class EndlessAnswerError(OSError):
    """The head or framing of an answer takes too long or is too large; trying again would not help."""


class Watch:
    """Detects a transfer that is too slow. Only the time spent waiting for the network counts."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._seconds = 0.0
        self._bytes = 0

    def note(self, count: int, seconds: float) -> None:
        """Count received bytes and waiting time.

        Raises:
            StalledError: The transfer is too slow.
        """
        self._seconds += seconds
        self._bytes += count
        if self._seconds < self._policy.stall_time:
            return
        if self._bytes < self._policy.stall_bytes:
            raise _StalledError(f"{self._bytes} bytes in {self._seconds:.0f} s")
        self._seconds, self._bytes = 0.0, 0


class _Wire(io.RawIOBase):
    """Bytes from a socket, with limits on the time of the first byte and the head, and on the rate afterwards."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, policy: RetryPolicy) -> None:
        super().__init__()
        self._sock = sock
        self._raw = raw
        self._policy = policy
        self._until = time.monotonic() + policy.answer_timeout
        self._begun = False
        self._watch: Watch | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        began = time.monotonic()
        if self._watch is not None:
            count = self._raw.readinto(buffer)
            self._watch.note(count or 0, time.monotonic() - began)
            return count
        try:
            self._sock.settimeout(max(0.001, self._until - began))
            count = self._raw.readinto(buffer)
        except TimeoutError:
            if not self._begun:
                raise
            raise EndlessAnswerError(
                f"the head of its answer did not end within {self._policy.head_time:.0f} s"
            ) from None
        if not self._begun:
            self._begun, self._until = True, time.monotonic() + self._policy.head_time
        return count

    def begin_body(self) -> None:
        """Apply the rules for a body, because the head is complete."""
        self._sock.settimeout(self._policy.stall_time)
        self._watch = Watch(self._policy)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Lines(io.BufferedReader):
    """The input for the parser of answers; bounds everything except content, and skips interim answers (1xx)."""

    def __init__(self, raw: _Wire, most: int) -> None:
        super().__init__(raw)
        self._most = most
        self._count = 0
        self._awaits_status = True

    def readline(self, size: int | None = -1, /) -> bytes:
        line = self._next(size)
        while self._awaits_status and _INTERIM.match(line):
            while self._next(size) not in (b"\r\n", b"\n", b""):
                pass
            line = self._next(size)
        self._awaits_status = False
        return line

    def read1(self, size: int = -1, /) -> bytes:
        self._count = 0
        return super().read1(size)

    def _next(self, size: int | None) -> bytes:
        line = super().readline(size)
        self._count += len(line)
        if self._count > self._most:
            raise EndlessAnswerError(f"its answer has more than {self._most} bytes besides its content")
        return line


class Answer(http.client.HTTPResponse):
    """An answer that is read within the bounds of a policy."""

    def __init__(self, policy: RetryPolicy, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._wire = _Wire(sock, self.fp.detach(), policy)
        self.fp = _Lines(self._wire, policy.head_bytes)

    def begin(self) -> None:
        """Read the head.

        Raises:
            EndlessAnswerError: It is too large or takes too long.
        """
        try:
            super().begin()
        except http.client.HTTPException as error:
            if type(error) in {http.client.HTTPException, http.client.LineTooLong}:  # too many headers, too long a one
                raise EndlessAnswerError(f"its answer's head is too large ({error})") from None
            raise
        self._wire.begin_body()
