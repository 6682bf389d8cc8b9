"""The places from which a repository is read: mirrors first, then the registry itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from sifmake.errors import IntegrityError, LimitError, SourceError
from sifmake.reference.reference import DOCKER_HUB, DOCKER_HUB_API
from sifmake.registry.certs_d import HostSettingsLookup
from sifmake.registry.endpoint import Endpoint, RegistryRequest
from sifmake.registry.error_responses import NotFoundError
from sifmake.registry.proxies import is_loopback
from sifmake.registry.registries_conf import Location, find_locations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sifmake.reference import Reference
    from sifmake.registry.settings import ClientSettings
    from sifmake.registry.transport import Response, Transport

T = TypeVar("T")
PAST_CACHES = {"Cache-Control": "no-cache"}
"""Headers that make caches fetch a document again (RFC 9111, section 5.2.1.4)."""
MIRROR_ATTEMPTS = 2
"""Attempts at a mirror; few, because there are other places."""


@dataclass(frozen=True)
class Mirror:
    """A host and the repository's name on it.

    Attributes:
        endpoint: Sends requests to the host.
        repository: Name of the repository on the host.
        headers: Headers of all requests.
    """

    endpoint: Endpoint
    repository: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def get_blob(self, digest: str, headers: Mapping[str, str]) -> Response:
        """Request a blob and return the answer, with any status."""
        path = f"/v2/{self.repository}/blobs/{digest}"
        return self.endpoint.request(RegistryRequest("GET", path, self.repository, {**self.headers, **headers}))


class Places:
    """All places of one repository; several threads may use it.

    Attributes:
        origin: The registry itself, or the location that ``registries.conf`` gives for reading it.
        home: The registry that the reference names, for logging in and pushing.
    """

    def __init__(self, reference: Reference, settings: ClientSettings, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        self._registry = reference.registry
        self._hosts = HostSettingsLookup(settings.registries, settings.environ)
        *mirrors, origin = _locations(reference, settings)
        self._mirrors = [self._place(location, mirror=True) for location in mirrors]
        self._given_up: set[str] = set()
        self.origin = self._place(origin)
        here = Location(reference.registry, reference.repository)
        self.home = self.origin if origin == here else self._place(here)

    def __iter__(self) -> Iterator[Mirror]:
        """Yield the mirrors that still work, then the registry itself."""
        yield from (mirror for mirror in self._mirrors if mirror.endpoint.host not in self._given_up)
        yield self.origin

    def anywhere(self, action: Callable[[Mirror], T]) -> T:
        """Do something at the first place where it works; if it fails everywhere, raise the registry's error.

        If the registry sends wrong bytes, they are requested once more, because a proxy's cached copy may be damaged.
        """
        for place in self:
            try:
                return action(place)
            except SourceError as error:
                if place is self.origin and not may_change(error):
                    raise
                if place is self.origin:
                    self._settings.progress.info(f"{error}; trying again")
                    return action(replace(place, headers=PAST_CACHES))
                self.pass_over(place.endpoint, error)
        raise AssertionError

    def pass_over(self, endpoint: Endpoint, error: SourceError) -> None:
        """Note that a mirror failed; one that does not work at all is not asked again."""
        if endpoint.host not in self._given_up:
            self._settings.progress.warning(f"skipping the mirror {endpoint.host}: {error}")
        if not isinstance(error, NotFoundError):
            self._given_up.add(endpoint.host)

    def close(self) -> None:
        """End all pauses."""
        for place in [*self._mirrors, self.origin]:
            place.endpoint.close()

    def _place(self, location: Location, *, mirror: bool = False) -> Mirror:
        settings = self._settings
        policy = settings.retry
        if mirror:
            policy = policy._replace(attempts=MIRROR_ATTEMPTS, first_attempts=1)
        registry, repository = location.host, location.repository
        named = not mirror and registry == self._registry
        host = DOCKER_HUB_API if registry == DOCKER_HUB else registry
        own = self._hosts.of(registry)
        may_be_plain = settings.no_https or location.insecure or is_loopback(urlsplit(f"//{host}").hostname or "")
        endpoint = Endpoint(
            host,
            own,
            self._transport,
            policy,
            settings.progress,
            lambda: settings.credentials.find(registry, repository, named=named),
            may_be_plain=may_be_plain,
            others=self._hosts,
        )
        # What was granted by TLS must not be sent to a host that turns out to have none.
        if settings.shared and (own.plain_http or not may_be_plain):
            endpoint.authorizer.share(
                settings.shared.grants(host, repository, own, named, settings.credentials.identity)
            )
        return Mirror(endpoint, repository)


def _locations(reference: Reference, settings: ClientSettings) -> list[Location]:
    """Return the servers to read from, as set in sifmake's configuration, else in ``registries.conf``."""
    configured = settings.registries.get(reference.registry)
    found = [] if configured else find_locations(reference, settings.environ)
    if found:
        return found
    here = Location(reference.registry, reference.repository)
    return [*(_mirror(text, here.repository) for text in (configured.mirrors if configured else ())), here]


def _mirror(text: str, repository: str) -> Location:
    host, _, prefix = text.rstrip("/").partition("/")
    return Location(host, f"{prefix}/{repository}" if prefix else repository)


def may_change(error: SourceError) -> bool:
    """Tell whether another request may help: the bytes were wrong, and did not just exceed a limit."""
    return isinstance(error, IntegrityError) and not isinstance(error, LimitError)


@dataclass(frozen=True)
class Step:
    """One place of a blob.

    Attributes:
        endpoint: The host.
        request: Requests the blob, with further headers.
    """

    endpoint: Endpoint
    request: Callable[[Mapping[str, str]], Response]


class BlobRoute:
    """The places of one blob, tried one after the other.

    Args:
        steps: At least one place.
        passed_over: Called for each place that failed, except the last.
        repeats: Whether to ask the last place once more after wrong bytes.
    """

    def __init__(
        self, steps: Sequence[Step], passed_over: Callable[[Endpoint, SourceError], None], *, repeats: bool = True
    ) -> None:
        self._steps = list(steps)
        self._passed_over = passed_over
        self._repeats = repeats
        self._headers: Mapping[str, str] = {}
        self._mixed = False

    @property
    def endpoint(self) -> Endpoint:
        """The present host."""
        return self._steps[0].endpoint

    @property
    def is_last(self) -> bool:
        """Whether there is no other place left."""
        return len(self._steps) == 1

    def request(self, headers: Mapping[str, str]) -> Response:
        """Ask."""
        return self._steps[0].request({**self._headers, **headers})

    def move_on(self, error: SourceError, *, mixed: bool = False) -> bool:
        """Go to the next place, or to the last one again after wrong bytes; return whether there is one.

        Args:
            error: Why the present place failed.
            mixed: Whether bytes from the present place are kept.
        """
        if self.is_last:
            once_more = self._repeats and may_change(error)
            self._repeats, self._headers = False, PAST_CACHES
            return once_more
        self._passed_over(self._steps.pop(0).endpoint, error)
        self._mixed = mixed
        return True

    def begin_again(self, error: SourceError) -> bool:
        """Skip the place of wrong bytes; return whether the complete blob can be requested once more.

        If parts of a blob came from several places, the last place must still be tried for all of it; after wrong bytes
        from the last place only, that place is tried once more.
        """
        if self._mixed:
            self._mixed = False
            return True
        return self.move_on(error)
