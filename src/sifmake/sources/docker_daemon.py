"""``docker-daemon:``: an image of a Docker or Podman engine, through its API (``GET /images/NAME/get``)."""

from __future__ import annotations

import http.client
import re
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sifmake.errors import SifmakeError, SourceError
from sifmake.json_text import parse_json
from sifmake.oci import is_digest
from sifmake.reference import LocalReference, parse_reference
from sifmake.sources.base import Resolved
from sifmake.sources.docker_archive import DockerArchiveSource
from sifmake.sources.engine_connection import find_engine
from sifmake.sources.streamed import StreamedArchive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from sifmake.oci.model import Image, Layer, Platform
    from sifmake.sources.base import BlobReader, KnownIndexes
    from sifmake.sources.engine_connection import Engine
    from sifmake.sources.settings import SourceSettings

_LARGEST_ANSWER = 8 << 20
_SHORT_ID = re.compile(r"[0-9a-f]{12}(?::latest)?\Z")


def open_docker_daemon(rest: str, settings: SourceSettings) -> DaemonSource:
    """Return the image's source; no request is made yet.

    Raises:
        BadReferenceError: The name is malformed.
    """
    text = rest if is_digest(rest) else parse_reference(rest).familiar
    return DaemonSource(text, settings)


class DaemonSource:
    """An image of an engine. It is exported when it is needed, and its layers are passed to the sink.

    Attributes:
        transport: ``docker-daemon``.
        name: The image's name, or its ID.
    """

    transport = "docker-daemon"

    def __init__(self, name: str, settings: SourceSettings) -> None:
        self.name = name
        self._settings = settings
        self._exported: DockerArchiveSource | None = None

    def resolve(self, platform: Platform, known: KnownIndexes | None = None) -> Resolved:
        """Ask the engine for the image's ID; the image is exported only if the ID is new."""
        try:
            identity = self._identity()
            manifest_digest = known.find_manifest(identity, platform) if known else None
            if manifest_digest is None:
                manifest_digest = self._archive().resolve(platform).manifest_digest
                if known:
                    known.remember_manifest(identity, platform, manifest_digest)
        except SifmakeError as error:
            raise error if error.where.startswith("docker-daemon:") else error.within(self._where) from None
        return Resolved(identity, manifest_digest)

    def image(self, manifest_digest: str) -> Image:
        """Return the image that the engine exports."""
        return self._archive().image(manifest_digest)

    def document(self, digest: str) -> bytes:
        """Raise SourceError: an engine exports images, not documents by digest."""
        return self._archive().document(digest)

    def read_through(self, manifest_digest: str) -> None:
        """Pass the exported layers to the sink."""
        self._archive().read_through(manifest_digest)

    def open_layer(self, layer: Layer) -> AbstractContextManager[BlobReader]:
        """Open a layer of the exported image."""
        return self._archive().open_layer(layer)

    def close(self) -> None:
        """Drop layers that were not kept."""
        if self._exported is not None:
            self._exported.close()
            self._exported = None

    @cached_property
    def _engine(self) -> Engine:
        return find_engine(self._settings.environ)

    @property
    def _where(self) -> str:
        return f"docker-daemon:{self.name}"

    def _identity(self) -> str:
        connection = self._engine.connect()
        try:
            response = self._get(connection, "json")
            document = parse_json(response.read(_LARGEST_ANSWER))
        except ValueError:
            document = None
        finally:
            connection.close()
        identity = document.get("Id") if isinstance(document, dict) else None
        if not isinstance(identity, str) or not is_digest(identity):
            raise SourceError(
                "the engine did not return the image's ID", hint=f"check that {self._engine.name} is an engine"
            )
        return identity

    def _archive(self) -> DockerArchiveSource:
        if self._exported is None:
            settings = self._settings
            content = StreamedArchive(_Export(self), settings.sink, settings.limits)
            reference = LocalReference(Path(self.name))
            self._exported = DockerArchiveSource(self.transport, reference, content, settings.limits)
        return self._exported

    @contextmanager
    def export(self) -> Iterator[BlobReader]:
        """Have the engine export the image, from the first byte."""
        connection = self._engine.connect()
        try:
            self._settings.progress.info(f"the engine exports {self.name}")
            yield _Unbroken(self._get(connection, "get"))
        finally:
            connection.close()

    def _get(self, connection: http.client.HTTPConnection, what: str) -> http.client.HTTPResponse:
        try:
            connection.request("GET", f"/images/{quote(self.name, safe='/:@')}/{what}", headers={"Host": "docker"})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            hint = f"check that it is running and that you may use {self._engine.name}, or set DOCKER_HOST"
            raise SourceError(f"the Docker engine cannot be reached ({error})", hint=hint) from None
        if response.status == 404:
            hint = f"run `docker pull {self.name}` first"
            if _SHORT_ID.match(self.name):
                hint = "write an ID as sha256: and 64 digits, as shown by `docker images --no-trunc`"
            raise SourceError("the engine has no such image", hint=hint)
        if response.status != 200:
            raise SourceError(f"the engine answered with status {response.status} ({_message(response)})")
        return response


class _Export:
    """The export of an engine, as a streamed archive."""

    identity = ""

    def __init__(self, source: DaemonSource) -> None:
        self.open = source.export

    def close(self) -> None:
        """Nothing is held open."""


class _Unbroken:
    """The engine's answer; an interrupted transfer is reported as the engine's fault."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def read(self, size: int, /) -> bytes:
        try:
            return self._response.read1(size)
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(f"the engine interrupted the export ({error})") from None


def _message(response: http.client.HTTPResponse) -> str:
    try:
        document: Any = parse_json(response.read(_LARGEST_ANSWER))
        return str(document["message"])[:200]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return "no reason given"
