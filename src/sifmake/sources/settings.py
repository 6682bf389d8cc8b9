"""Settings of all sources together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.progress import Progress, Silent
from sifmake.registry.settings import Credentials, HostSettings, RetryPolicy, patience
from sifmake.sources.measuring import DigestingSink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sifmake.oci.model import Platform
    from sifmake.registry.credentials import CredentialStore
    from sifmake.registry.shared import Connections
    from sifmake.sources.base import LayerSink


class SourceSettings(msgspec.Struct, frozen=True):
    """The settings of a source, in addition to its URI.

    Attributes:
        limits: Bounds on input.
        registries: Settings by ``host[:port]``, as in references (``docker.io`` for Docker Hub).
        auth_file: File with credentials in Docker's format; read instead of the usual files.
        credentials: Credentials for the registry of a reference; they take precedence over all others.
        typed: Whether a user has typed the references; for those in a project's files, fewer variables are used.
        no_https: Whether to use plain HTTP if a registry does not answer with TLS.
        sink: Receives the layers of archives that are read as a stream.
        progress: Receives messages.
        environ: Environment variables: credentials, proxies, ``DOCKER_HOST``.
        shared: Connections that outlive a source; None for some of its own.
        platform: The platform to choose from an ``oras://`` index; None for this machine's.
        older: Open an older version of an ``oras://`` file each, or return None; the fetch closes the descriptor.
        retry: When requests are repeated; None to derive it from the limits.
    """

    limits: Limits = DEFAULT_LIMITS
    registries: Mapping[str, HostSettings] = msgspec.field(default_factory=dict)
    auth_file: Path | None = None
    credentials: Credentials | None = None
    typed: bool = True
    no_https: bool = False
    sink: LayerSink = msgspec.field(default_factory=DigestingSink)
    progress: Progress = msgspec.field(default_factory=Silent)
    environ: Mapping[str, str] = msgspec.field(default_factory=lambda: os.environ)
    shared: Connections | None = None
    platform: Platform | None = None
    older: Sequence[Callable[[], int | None]] = ()
    retry: RetryPolicy | None = None

    @property
    def policy(self) -> RetryPolicy:
        """When requests are repeated."""
        return self.retry or patience(self.limits)

    def credential_store(self) -> CredentialStore:
        """Return where credentials are looked up."""
        from sifmake.registry.credentials import CredentialStore

        return CredentialStore(
            self.environ, self.progress, auth_file=self.auth_file, explicit=self.credentials, typed=self.typed
        )
