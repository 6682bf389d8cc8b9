"""The configuration of registries: plain data, fast to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sifmake.limits import Limits
    from sifmake.progress import Progress
    from sifmake.registry.credentials import CredentialStore
    from sifmake.registry.shared import Connections


class HostSettings(NamedTuple):
    """The settings of one registry host.

    Attributes:
        plain_http: Whether to use plain HTTP.
        ca_file: PEM file with the CAs to trust; None for the system's.
        more_ca: Files with further CAs, in addition to ``ca_file`` or the system's.
        client_cert: PEM client certificate; may contain the key too.
        client_key: PEM key of ``client_cert``.
        mirrors: ``host[:port][/prefix]`` of registries to ask before it, in this order.
        allow_http_redirects: Whether it may redirect from TLS to plain HTTP; credentials are never sent there.
        sif_recipes: Whether the recipes of SIF files are stored there and used.
    """

    plain_http: bool = False
    ca_file: Path | None = None
    more_ca: tuple[Path, ...] = ()
    client_cert: Path | None = None
    client_key: Path | None = None
    mirrors: tuple[str, ...] = ()
    allow_http_redirects: bool = False
    sif_recipes: bool = True

    @property
    def for_tls(self) -> HostSettings:
        """The settings on which a TLS connection depends; hosts with equal ones share a context."""
        return HostSettings(
            ca_file=self.ca_file, more_ca=self.more_ca, client_cert=self.client_cert, client_key=self.client_key
        )


COMMAND_LINE = "the command line"
"""Origin of credentials that a user typed."""


@dataclass(frozen=True)
class Credentials:
    """Credentials for a registry.

    Attributes:
        username: May be empty with a token.
        password: Password of the user.
        identity_token: OAuth2 refresh token; if not empty, used instead of the password.
        registry_token: Bearer token for the registry itself; used unchanged.
        origin: Where they come from, for messages.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    origin: str = ""

    @property
    def pair(self) -> bytes:
        """User and password as they are sent (RFC 7617); bytes that are not UTF-8 are kept."""
        return f"{self.username}:{self.password}".encode(errors="surrogateescape")


class RetryPolicy(NamedTuple):
    """When and how often a request is repeated. Times are seconds.

    Attributes:
        attempts: Most attempts of one request without any progress, including the first.
        first_attempts: The same for a host that was never reached (wrong name, nothing listens).
        base: Pause before the second attempt; doubled for each further one, with jitter.
        longest_pause: Bound on a pause.
        longest_wait: Longest ``Retry-After`` to wait for.
        connect_timeout: Limit for connecting.
        answer_timeout: Limit for the first byte of an answer; proxies that fetch a layer first need minutes.
        head_time: Limit for the rest of an answer's head, interim answers (1xx) included.
        head_bytes: Most bytes of a head, and of a body besides its content.
        stall_time: A transfer is cancelled if it had less than ``stall_bytes`` in this time.
        stall_bytes: See there.
    """

    attempts: int = 8
    first_attempts: int = 3
    base: float = 0.5
    longest_pause: float = 15.0
    longest_wait: float = 300.0
    connect_timeout: float = 15.0
    answer_timeout: float = 120.0
    head_time: float = 30.0
    head_bytes: int = 64 * 1024
    stall_time: float = 120.0
    stall_bytes: int = 120 * 1024


DEFAULT_RETRY = RetryPolicy()


def patience(limits: Limits) -> RetryPolicy:
    """Return the policy that follows from a site's limits."""
    return RetryPolicy(
        answer_timeout=float(limits.answer_seconds),
        head_time=float(limits.head_seconds),
        head_bytes=limits.head_bytes,
        stall_time=float(limits.stall_seconds),
        stall_bytes=limits.stall_seconds * limits.slowest_rate,
    )


class ClientSettings(NamedTuple):
    """The settings of a client.

    Attributes:
        limits: Bounds on documents.
        registries: Settings by host, as in references.
        credentials: The store of credentials.
        no_https: Whether to use plain HTTP if a host does not use TLS.
        environ: Variables for proxies and certificates.
        retry: When requests are repeated.
        progress: Receives messages.
        shared: Connections that outlive the client; None if it should open its own.
    """

    limits: Limits
    registries: Mapping[str, HostSettings]
    credentials: CredentialStore
    no_https: bool
    environ: Mapping[str, str]
    progress: Progress
    retry: RetryPolicy = DEFAULT_RETRY
    shared: Connections | None = None
