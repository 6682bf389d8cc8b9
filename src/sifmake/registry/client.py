"""Reading one repository of a registry: manifests and blobs, mirrors first (OCI distribution spec, "Pull")."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from sifmake.errors import IntegrityError, RegistryError, SourceError
from sifmake.oci.digest import check_bytes, digest_bytes, is_digest
from sifmake.oci.media_types import ACCEPT, is_foreign
from sifmake.reference.reference import DOCKER_HUB, DOCKER_HUB_API
from sifmake.registry.blob_reader import BlobReader
from sifmake.registry.endpoint import Call, Endpoint
from sifmake.registry.problem import NotFoundError, explain
from sifmake.registry.proxies import is_loopback
from sifmake.registry.settings import DEFAULT_RETRY, HostSettings, RetryPolicy
from sifmake.registry.transport import BROKEN, Transport
from sifmake.registry.upload import Uploader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sifmake.limits import Limits
    from sifmake.oci.model import Descriptor
    from sifmake.progress import Progress
    from sifmake.reference import Reference
    from sifmake.registry.credentials import CredentialStore
    from sifmake.registry.transport import Response

T = TypeVar("T")


@dataclass(frozen=True)
class ClientSettings:
    """What a client works with.

    Attributes:
        limits: Bounds on documents.
        registries: By host as it stands in references.
        credentials: Whose.
        no_https: Whether plain HTTP will do where a host does not speak TLS.
        environ: Proxies and certificates.
        retry: When requests are made again.
        progress: Told messages.
    """

    limits: Limits
    registries: Mapping[str, HostSettings]
    credentials: CredentialStore
    no_https: bool
    environ: Mapping[str, str]
    progress: Progress
    retry: RetryPolicy = DEFAULT_RETRY


@dataclass(frozen=True)
class Head:
    """What a HEAD told.

    Attributes:
        digest: Empty where the registry does not say.
        media_type: Likewise.
    """

    digest: str
    media_type: str


@dataclass(frozen=True)
class _Place:
    """A host and what the repository is called there."""

    endpoint: Endpoint
    repository: str


class RegistryClient:
    """Reads one repository; may be used by several threads."""

    def __init__(self, reference: Reference, settings: ClientSettings) -> None:
        self._reference = reference
        self._settings = settings
        self._transport = Transport(settings.environ, settings.retry)
        self._places = list(self._find_places())

    def head(self, wanted: str) -> Head:
        """Ask what a tag or digest stands for, without counting as a pull.

        Raises:
            RegistryError: There is no such image, or no answer.
        """
        return self._anywhere(lambda place: self._head(place, wanted))

    def manifest(self, wanted: str, digest: str = "") -> tuple[bytes, str]:
        """Get an index or manifest and its digest.

        Args:
            wanted: Tag or digest.
            digest: What it must have; empty for a tag's whatever it is.

        Raises:
            RegistryError: There is no such document, or no answer.
            IntegrityError: It does not have the digest, or is too large.
        """
        return self._anywhere(lambda place: self._manifest(place, wanted, digest))

    def blob(self, descriptor: Descriptor, limit: int) -> bytes:
        """Get a small blob.

        Raises:
            RegistryError: There is no such blob, or no answer.
            IntegrityError: It does not have its digest or size, or is too large.
        """
        if descriptor.size > limit:
            raise IntegrityError(
                f"the document has {descriptor.size} bytes, more than {limit}", where=descriptor.digest
            )
        return self._anywhere(lambda place: self._blob(place, descriptor))

    @contextmanager
    def open_blob(self, descriptor: Descriptor) -> Iterator[BlobReader]:
        """Open a blob for one pass from its first byte; its size is checked, its digest is not.

        Raises:
            RegistryError: There is no such blob.
        """
        try:
            reader = self._anywhere(lambda place: self._open_at(place, descriptor))
        except NotFoundError:
            if not descriptor.urls or not is_foreign(descriptor.media_type):
                raise
            reader = self._foreign(descriptor)
        try:
            yield reader
        finally:
            reader.close()

    def peek_blob(self, digest: str, limit: int) -> bytes | None:
        """Return the first bytes of a blob, or None where there is none; used to explain why it is no manifest."""
        place = self._places[-1]
        path = f"/v2/{place.repository}/blobs/{digest}"
        try:
            response = place.endpoint.expect(Call("GET", path, place.repository, {}), 200)
            try:
                return response.read_all(limit)
            finally:
                response.close()
        except (RegistryError, *BROKEN):
            return None

    def ping(self) -> None:
        """Ask the registry itself for nothing, to see whether it lets one in.

        Raises:
            RegistryError: It does not, or does not answer.
        """
        place = self._places[-1]
        place.endpoint.expect(Call("GET", "/v2/", "", {}), 200).close()

    def uploader(self) -> Uploader:
        """Return what writes the repository, at the registry itself."""
        place = self._places[-1]
        return Uploader(place.endpoint, place.repository)

    def close(self) -> None:
        """Close all connections."""
        for place in self._places:
            place.endpoint.close()
        self._transport.close()

    def _find_places(self) -> Iterator[_Place]:
        """Yield mirrors, then the registry itself."""
        reference = self._reference
        own = self._settings.registries.get(reference.registry, HostSettings())
        for mirror in own.mirrors:
            host, _, prefix = mirror.rstrip("/").partition("/")
            repository = f"{prefix}/{reference.repository}" if prefix else reference.repository
            yield self._place(host, self._settings.registries.get(host, HostSettings()), repository)
        yield self._place(reference.registry, own, reference.repository)

    def _place(self, registry: str, host_settings: HostSettings, repository: str) -> _Place:
        settings = self._settings
        host = DOCKER_HUB_API if registry == DOCKER_HUB else registry
        name = urlsplit(f"//{host}").hostname or ""
        endpoint = Endpoint(
            host,
            host_settings,
            self._transport,
            settings.retry,
            settings.progress,
            lambda: settings.credentials.find(registry, repository),
            may_be_plain=settings.no_https or is_loopback(name),
        )
        return _Place(endpoint, repository)

    def _anywhere(self, action: Callable[[_Place], T]) -> T:
        """Do something at the first place where it works; the registry's own error counts if none does."""
        for place in self._places[:-1]:
            try:
                return action(place)
            except SourceError as error:
                self._settings.progress.warning(f"the mirror {place.endpoint.host} is passed over: {error}")
        return action(self._places[-1])

    def _head(self, place: _Place, wanted: str) -> Head:
        path = f"/v2/{place.repository}/manifests/{wanted}"
        response = place.endpoint.send(Call("HEAD", path, place.repository, {"Accept": ACCEPT}))
        try:
            if response.status in (405, 501):
                return Head("", "")
            if response.status != 200:
                raise explain(response, place.endpoint.host)
        finally:
            response.close()
        digest = response.headers.get("Docker-Content-Digest", "")
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        return Head(digest if is_digest(digest) else "", media_type)

    def _manifest(self, place: _Place, wanted: str, digest: str) -> tuple[bytes, str]:
        limit = self._settings.limits.manifest_bytes
        path = f"/v2/{place.repository}/manifests/{wanted}"
        data = self._read(place.endpoint, Call("GET", path, place.repository, {"Accept": ACCEPT}), limit)
        if len(data) > limit:
            raise IntegrityError(f"the manifest has more than {limit} bytes", where=place.endpoint.host)
        if digest:
            check_bytes(data, digest)
        return data, digest or digest_bytes(data)

    def _blob(self, place: _Place, descriptor: Descriptor) -> bytes:
        reader = self._open_at(place, descriptor)
        try:
            data = b"".join(iter(lambda: reader.read(1 << 20), b""))
        finally:
            reader.close()
        return check_bytes(data, descriptor.digest, descriptor.size)

    def _read(self, endpoint: Endpoint, call: Call, limit: int) -> bytes:
        """Return a document, asked for again when the connection breaks."""
        for attempt in range(1, self._settings.retry.attempts + 1):
            response = endpoint.expect(call, 200)
            try:
                data = response.read_all(limit)
                if response.length in (None, len(data)) or len(data) > limit:
                    return data
            except BROKEN:
                pass
            finally:
                response.close()
            endpoint.pause(attempt + 1)
        raise RegistryError("the connection broke off again and again", where=endpoint.host)

    def _open_at(self, place: _Place, descriptor: Descriptor) -> BlobReader:
        path = f"/v2/{place.repository}/blobs/{descriptor.digest}"

        def request(headers: Mapping[str, str]) -> Response:
            return place.endpoint.send(Call("GET", path, place.repository, headers))

        return self._opened(place.endpoint, request, descriptor)

    def _opened(
        self, endpoint: Endpoint, request: Callable[[Mapping[str, str]], Response], descriptor: Descriptor
    ) -> BlobReader:
        reader = BlobReader(endpoint, request, descriptor.size, self._settings.retry)
        reader.open()
        return reader

    def _foreign(self, descriptor: Descriptor) -> BlobReader:
        """Open a layer that the registry does not keep at one of the addresses that its descriptor names."""
        endpoint = self._places[-1].endpoint
        error: SourceError = RegistryError("the layer is kept elsewhere, but no address of it can be used")
        for url in descriptor.urls:
            if not url.startswith("https://") and not (endpoint.is_local and url.startswith("http://")):
                continue
            try:
                return self._opened(endpoint, partial(endpoint.fetch_elsewhere, url), descriptor)
            except SourceError as failure:
                error = failure
        raise error.within("a layer that is not distributed with the image") from None
