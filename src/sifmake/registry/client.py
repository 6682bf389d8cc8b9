"""Reading one repository of a registry: manifests and blobs, mirrors first (OCI distribution spec, "Pull")."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sifmake.errors import LimitError, RegistryError, SourceError, WrongBlobError
from sifmake.oci.digest import check_bytes, digest_bytes, is_digest
from sifmake.oci.media_types import ACCEPT, is_foreign
from sifmake.reference.address import whole_address
from sifmake.registry.blob_reader import RangedReader
from sifmake.registry.endpoint import Endpoint, RegistryRequest
from sifmake.registry.mirrors import BlobRoute, Mirror, Places, Step
from sifmake.registry.shared import Connections
from sifmake.registry.transport import BROKEN
from sifmake.registry.upload import Uploader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sifmake.oci.model import Descriptor
    from sifmake.reference import Reference
    from sifmake.registry.part_reader import PartReader
    from sifmake.registry.referrers import Referrers
    from sifmake.registry.settings import ClientSettings
    from sifmake.registry.transport import Response
    from sifmake.registry.upkeep import Upkeep


_RAISE = "raise manifest-bytes or config-bytes (limits: in sifmake.yaml)"


@dataclass(frozen=True)
class Head:
    """The result of a HEAD request.

    Attributes:
        digest: Digest of the manifest or index.
        media_type: Empty if the registry does not send it.
        document: The manifest or index itself, if the HEAD failed or had no digest and a GET followed.
    """

    digest: str
    media_type: str
    document: bytes = b""


class RegistryClient:
    """Reads one repository; may be used by several threads."""

    def __init__(self, reference: Reference, settings: ClientSettings) -> None:
        self._settings = settings
        self._own = Connections()
        self._transport = (settings.shared or self._own).transport(settings.environ, settings.retry)
        self._places = Places(reference, settings, self._transport)
        self._begun: dict[str, BlobRoute] = {}

    def head(self, wanted: str) -> Head:
        """Ask which document a tag or digest names, without counting as a pull; with a GET if the HEAD fails.

        Registries and proxies that answer every GET are known to answer HEAD with 400, 403, 404, 405, 500 or 501.

        Raises:
            RegistryError: There is no such image, or no answer.
        """
        return self._places.anywhere(lambda place: self._head(place, wanted))

    def manifest(self, wanted: str, digest: str = "") -> tuple[bytes, str]:
        """Get an index or manifest and its digest.

        Args:
            wanted: Tag or digest.
            digest: The digest that it must have; empty to accept any for a tag.

        Raises:
            RegistryError: There is no such document, or no answer.
            IntegrityError: It does not have the digest.
            LimitError: It is too large.
        """
        return self._places.anywhere(lambda place: self._manifest(place, wanted, digest))

    def blob(self, descriptor: Descriptor, limit: int) -> bytes:
        """Get a small blob.

        Raises:
            RegistryError: There is no such blob, or no answer.
            IntegrityError: It does not have its digest or size.
            LimitError: It is too large.
        """
        if descriptor.size > limit:
            raise LimitError(
                f"the document has {descriptor.size} bytes, more than {limit}", where=descriptor.digest, hint=_RAISE
            )
        return self._places.anywhere(lambda place: self._blob(place, descriptor))

    @contextmanager
    def open_blob(self, descriptor: Descriptor, answer: Response | None = None) -> Iterator[RangedReader]:
        """Open a blob for one pass from its first byte; its size is checked, but not its digest.

        An ``answer`` that brings the complete blob from the first place is read instead of requesting it again. If the
        block raises a ``WrongBlobError``, the place of the bytes is skipped from then on. If the error's
        ``elsewhere`` is set, opening the blob again asks the next place, or the last one once more.

        Raises:
            RegistryError: There is no such blob.
        """
        way = self._begun.pop(descriptor.digest, None) or self._way_to(descriptor)
        reader = RangedReader(way, descriptor.size, self._settings.retry)
        try:
            if answer is None:
                reader.open()
            else:
                reader.take(answer)
            yield reader
        except WrongBlobError as error:
            error.elsewhere = way.begin_again(error)
            if error.elsewhere:
                self._begun[descriptor.digest] = way
            raise
        finally:
            reader.close()

    def part_reader(self, descriptor: Descriptor) -> PartReader:
        """Return a reader of parts of a blob, which asks the first place only."""
        from sifmake.registry.part_reader import PartReader

        return PartReader(self._way_to(descriptor), descriptor.size, self._settings.retry)

    def referrers(self, *, of_home: bool = False) -> Referrers:
        """Return what refers to manifests of the repository, as the first place has it.

        Args:
            of_home: Whether to ask the registry that the reference names, as for :meth:`uploader`.
        """
        from sifmake.registry.referrers import Referrers

        place = self._places.home if of_home else next(iter(self._places))
        return Referrers(place, self._settings.limits.manifest_bytes)

    def peek_blob(self, digest: str, limit: int) -> bytes | None:
        """Return the first bytes of a blob, or None if there is none; used to explain why it is not a manifest."""
        try:
            response = self._places.origin.get_blob(digest, {})
            try:
                return response.read_all(limit) if response.status == 200 else None
            finally:
                response.close()
        except (RegistryError, *BROKEN):
            return None

    def ping(self) -> None:
        """Send a request without effect, to check whether the registry grants access.

        Raises:
            RegistryError: It denies access, or does not answer.
        """
        place = self._places.home
        place.endpoint.request_expecting(RegistryRequest("GET", "/v2/", "", {}), 200).close()

    def uploader(self) -> Uploader:
        """Return the uploader for the repository, which uses no mirror."""
        place = self._places.home
        return Uploader(place.endpoint, place.repository)

    def upkeep(self, limit: int) -> Upkeep:
        """Return what lists tags and deletes manifests, at the registry that the reference names.

        Args:
            limit: Most bytes of a list of tags.
        """
        from sifmake.registry.upkeep import Upkeep

        return Upkeep(self._places.home, limit)

    def close(self) -> None:
        """Close all connections that this object owns."""
        self._places.close()
        self._own.close()

    def _head(self, place: Mirror, wanted: str) -> Head:
        path = f"/v2/{place.repository}/manifests/{wanted}"
        headers = {**place.headers, "Accept": ACCEPT}
        response = place.endpoint.request_head(RegistryRequest("HEAD", path, place.repository, headers))
        response.close()
        digest = response.headers.get("Docker-Content-Digest", "")
        if response.status != 200 or not is_digest(digest):
            data, digest = self._manifest(place, wanted, wanted if is_digest(wanted) else "")
            return Head(digest, "", data)
        return Head(digest, response.headers.get("Content-Type", "").partition(";")[0].strip())

    def _manifest(self, place: Mirror, wanted: str, digest: str) -> tuple[bytes, str]:
        limit = self._settings.limits.manifest_bytes
        path = f"/v2/{place.repository}/manifests/{wanted}"
        call = RegistryRequest("GET", path, place.repository, {**place.headers, "Accept": ACCEPT})
        data, told = self._read(place.endpoint, call, limit)
        if len(data) > limit:
            raise LimitError(f"the manifest has more than {limit} bytes", where=place.endpoint.host, hint=_RAISE)
        digest = digest or (told if is_digest(told) else digest_bytes(data))
        return check_bytes(data, digest), digest

    def _blob(self, place: Mirror, descriptor: Descriptor) -> bytes:
        step = Step(place.endpoint, partial(place.get_blob, descriptor.digest))
        way = BlobRoute([step], self._pass_over, repeats=False)
        reader = RangedReader(way, descriptor.size, self._settings.retry)
        try:
            data = b"".join(iter(lambda: reader.read(1 << 20), b""))
        finally:
            reader.close()
        return check_bytes(data, descriptor.digest, descriptor.size)

    def _read(self, endpoint: Endpoint, call: RegistryRequest, limit: int) -> tuple[bytes, str]:
        """Return a document and the digest that the registry sends with it; try again if the connection breaks."""
        for attempt in range(1, self._settings.retry.attempts + 1):
            response = endpoint.request_expecting(call, 200)
            try:
                data = response.read_all(limit)
                if response.length in (None, len(data)) or len(data) > limit:
                    return data, response.headers.get("Docker-Content-Digest", "")
            except BROKEN:
                pass
            finally:
                response.close()
            endpoint.pause(attempt + 1)
        what = "the connection was interrupted repeatedly"
        raise RegistryError(what, where=endpoint.host, hint="try again later, or check the network")

    def _way_to(self, descriptor: Descriptor) -> BlobRoute:
        steps = [Step(place.endpoint, partial(place.get_blob, descriptor.digest)) for place in self._places]
        if is_foreign(descriptor.media_type):
            endpoint = self._places.origin.endpoint
            steps += [Step(endpoint, partial(endpoint.fetch_elsewhere, url)) for url in self._usable(descriptor.urls)]
        return BlobRoute(steps, self._pass_over)

    def _usable(self, urls: Sequence[str]) -> list[str]:
        schemes = ("https://", "http://") if self._places.origin.endpoint.is_local else ("https://",)
        return [whole for url in urls if (whole := whole_address("", url)).startswith(schemes)]

    def _pass_over(self, endpoint: Endpoint, error: SourceError) -> None:
        if endpoint is not self._places.origin.endpoint:
            self._places.pass_over(endpoint, error)
