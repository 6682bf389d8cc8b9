"""``https://`` and ``http://``: a SIF file on a web server, with ``#sha256=HEX`` after the address to pin it."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from sifmake.errors import BadReferenceError, IntegrityError, RegistryError, SifmakeError
from sifmake.reference.address import shown_address
from sifmake.registry.endpoint import RegistryRequest
from sifmake.registry.error_responses import error_from_response
from sifmake.registry.mirrors import PAST_CACHES, may_change
from sifmake.registry.proxies import is_loopback
from sifmake.registry.transport import BROKEN
from sifmake.sources.base import no_matter
from sifmake.sources.sif_file import write_sif
from sifmake.sources.web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sifmake.reference import Uri
    from sifmake.registry.transport import Response
    from sifmake.sources.settings import SourceSettings

_PIN = re.compile(r"sha256[=:]([0-9a-f]{64})\Z")


def open_sif(uri: Uri, settings: SourceSettings) -> HttpSif:
    """Return the file's source; no request is made yet.

    Raises:
        BadReferenceError: The address is malformed.
    """
    url, _, pin = str(uri).partition("#")
    parts = urlsplit(url)
    match = _PIN.match(pin)
    if not parts.hostname or "@" in parts.netloc:
        hint = "write https://HOST/PATH; for a user and a password, run `sifmake registry login`"
        raise BadReferenceError("not the address of a file", where=shown_address(url), hint=hint)
    if pin and not match:
        raise BadReferenceError(
            "the part after # is not a digest", where=shown_address(url), hint="write #sha256= and 64 hex digits"
        )
    return HttpSif(url, f"sha256:{match[1]}" if match else "", settings)


class HttpSif:
    """A SIF file on a web server.

    Attributes:
        transport: ``http`` or ``https``.
        name: The file's name without its address.
    """

    def __init__(self, url: str, pin: str, settings: SourceSettings) -> None:
        parts = urlsplit(url)
        self.transport = parts.scheme
        self.name = unquote(parts.path).rpartition("/")[2] or parts.netloc
        self._url = url
        self._pin = pin
        self._settings = settings
        self._server = WebServer(url, settings)
        self._endpoint = self._server.endpoint

    def resolve(self) -> str | None:
        """Return the pinned digest, else a digest of what the server says about the file without sending it."""
        if self._pin:
            return self._pin
        try:
            response = self._endpoint.request_head(RegistryRequest("HEAD", self._url, "", {}))
        except SifmakeError as error:
            raise self._placed(error) from None
        response.close()
        marks = [response.headers.get(name, "") for name in ("ETag", "Last-Modified", "Content-Length")]
        if response.status != 200 or not any(marks[:2]) or marks[0].startswith("W/"):
            return None
        return f"sha256:{hashlib.sha256(chr(10).join([self._url, *marks]).encode()).hexdigest()}"

    def fetch(self, path: Path, expected: str = "", told_size: Callable[[int], object] = no_matter) -> str:
        """Write the file, resuming interrupted transfers."""
        expected = expected or self._pin
        if self.transport == "http" and not expected and not is_loopback(urlsplit(self._url).hostname or ""):
            self._settings.progress.warning(
                f"{self._url} is not protected by TLS or a digest, so anyone on the network could change it"
            )
        try:
            return self._fetch_twice(path, expected, told_size)
        except SifmakeError as error:
            raise self._placed(error) from None

    def close(self) -> None:
        """Close all connections."""
        self._server.close()

    def _placed(self, error: SifmakeError) -> SifmakeError:
        error.what = error.what.replace("the image is private", "the file is private")
        return error.within(self._url)

    def _fetch_twice(self, path: Path, expected: str, told_size: Callable[[int], object]) -> str:
        """Fetch the file; if its bytes are wrong, fetch it again bypassing caches."""
        try:
            return self._fetch(path, expected, {}, told_size)
        except IntegrityError as error:
            if not may_change(error):
                raise
            self._settings.progress.info(f"{self._url}: {error}; trying again")
        return self._fetch(path, expected, PAST_CACHES, told_size)

    def _fetch(self, path: Path, expected: str, headers: Mapping[str, str], told_size: Callable[[int], object]) -> str:
        first = self._ask(headers)
        try:
            if first.status != 200:
                raise _refused(error_from_response(first, self._endpoint.host), first.status)
            told_size(first.length or 0)
            task = self._settings.progress.task(self.name, first.length)
            read = self._reader(first)
            return write_sif(path, read, task, limit=self._settings.limits.layer_bytes, expected=expected)
        finally:
            first.close()

    def _reader(self, first: Response) -> Callable[[int], bytes]:
        """Return the function that reads the file; errors of the target are not those of the transfer."""
        read = first.read if first.length is None else self._server.reader(self._url, first, first.length).read

        def more(size: int) -> bytes:
            try:
                return read(size)
            except BROKEN as error:
                raise RegistryError(f"the transfer was interrupted ({str(error)[:120]})") from None

        return more

    def _ask(self, headers: Mapping[str, str]) -> Response:
        return self._server.get(self._url, headers)


def _refused(error: RegistryError, status: int) -> RegistryError:
    """Reword a registry error for a web server."""
    if status in (404, 410):
        error.what, error.hint = "the server has no such file", "check the address"
    elif status in (401, 403):
        error.what = f"access was refused ({status})"
        error.hint = "check the address, and that you may read the file"
    error.what = error.what.replace("the registry", "the server")
    return error
