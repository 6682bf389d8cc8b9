"""Where a repository is read from: mirrors first, then the registry itself."""

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
"""Headers of what is asked once more (RFC 9111, section 5.2.1.4)."""
MIRROR_ATTEMPTS = 2
"""Tries at a mirror: there is somewhere else to go."""


@dataclass(frozen=True)
class Mirror:
    """A host and what the repository is called there.

    Attributes:
        endpoint: Asks it.
        repository: See there.
        headers: Of all requests.
    """

    endpoint: Endpoint
    repository: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def get_blob(self, digest: str, headers: Mapping[str, str]) -> Response:
        """Ask for a blob and return the answer, whatever its status."""
        path = f"/v2/{self.repository}/blobs/{digest}"
        return self.endpoint.request(RegistryRequest("GET", path, self.repository, {**self.headers, **headers}))


class Places:
    """All places of one repository; may be used by several threads.

    Attributes:
        origin: The registry itself, or where ``registries.conf`` says that it is read.
        home: The registry that the reference names: where one logs in and pushes.
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
        """Do something at the first place where it works; the registry's own error counts if none does.

        Wrong bytes of the registry are asked for once more: what a proxy on the way had kept of them may be damaged.
        """
        for place in self:
            try:
                return action(place)
            except SourceError as error:
                if place is self.origin and not may_change(error):
                    raise
                if place is self.origin:
                    self._settings.progress.info(f"{error}; asking once more")
                    return action(replace(place, headers=PAST_CACHES))
                self.pass_over(place.endpoint, error)
        raise AssertionError

    def pass_over(self, endpoint: Endpoint, error: SourceError) -> None:
        """Note that a mirror did not do; one that is out of order is not asked again."""
        if endpoint.host not in self._given_up:
            self._settings.progress.warning(f"the mirror {endpoint.host} is passed over: {error}")
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
            policy = replace(policy, attempts=MIRROR_ATTEMPTS, first_attempts=1)
        registry, repository = location.host, location.repository
        named = not mirror and registry == self._registry
        host = DOCKER_HUB_API if registry == DOCKER_HUB else registry
        endpoint = Endpoint(
            host,
            self._hosts.of(registry),
            self._transport,
            policy,
            settings.progress,
            lambda: settings.credentials.find(registry, repository, named=named),
            may_be_plain=settings.no_https or location.insecure or is_loopback(urlsplit(f"//{host}").hostname or ""),
            others=self._hosts,
        )
        return Mirror(endpoint, repository)


def _locations(reference: Reference, settings: ClientSettings) -> list[Location]:
    """Return where to read: by sifmake's configuration of the registry, else by ``registries.conf``."""
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
    """Tell whether asking once more may help: bytes were wrong, and not merely more than a limit allows."""
    return isinstance(error, IntegrityError) and not isinstance(error, LimitError)


@dataclass(frozen=True)
class Step:
    """One way to a blob.

    Attributes:
        endpoint: Who is asked.
        request: Asks, with further headers.
    """

    endpoint: Endpoint
    request: Callable[[Mapping[str, str]], Response]


class BlobRoute:
    """The ways to one blob, one after the other.

    Args:
        steps: At least one.
        passed_over: Told of a way that did not lead to the end, unless it was the last.
        repeats: Whether wrong bytes of the last one are asked for once more.
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
        """Who is asked now."""
        return self._steps[0].endpoint

    @property
    def is_last(self) -> bool:
        """Whether there is no further way."""
        return len(self._steps) == 1

    def request(self, headers: Mapping[str, str]) -> Response:
        """Ask."""
        return self._steps[0].request({**self._headers, **headers})

    def move_on(self, error: SourceError, *, mixed: bool = False) -> bool:
        """Take the next way, or the last one once more after wrong bytes; return whether there is one.

        Args:
            error: Why this one did not do.
            mixed: Whether a part of the blob that it led to is kept.
        """
        if self.is_last:
            once_more = self._repeats and may_change(error)
            self._repeats, self._headers = False, PAST_CACHES
            return once_more
        self._passed_over(self._steps.pop(0).endpoint, error)
        self._mixed = mixed
        return True

    def begin_again(self, error: SourceError) -> bool:
        """Pass over where wrong bytes came from; return whether the whole blob can be asked for once more.

        Of a blob whose parts came from several places, the last one alone is still to be tried; so is the last place
        once more after wrong bytes of its own.
        """
        if self._mixed:
            self._mixed = False
            return True
        return self.move_on(error)
