"""Settings of all sources together."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.progress import Progress, Silent
from sifmake.registry.settings import Credentials, HostSettings, RetryPolicy, patience
from sifmake.sources.measuring import DigestingSink

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sifmake.oci.model import Platform
    from sifmake.registry.shared import Connections
    from sifmake.sources.base import LayerSink


@dataclass(frozen=True)
class SourceSettings:
    """What a source needs to know besides the URI.

    Attributes:
        limits: Bounds on what is read.
        registries: By ``host[:port]`` as it stands in references (``docker.io`` for Docker Hub).
        auth_file: Credentials in Docker's form; asked instead of the usual files.
        credentials: Used for the registry that a reference names, before anything else.
        typed: Whether a person has typed the references; those of a project's files get less from variables.
        no_https: Whether every registry may be spoken to without TLS, where TLS does not answer.
        sink: Gets the layers of archives that are read as a stream.
        progress: Told messages.
        environ: Environment variables: credentials, proxies, ``DOCKER_HOST``.
        shared: Connections that outlive a source; None for some of its own.
        platform: Which file of an ``oras://`` index is meant; None for this machine's.
        retry: When requests are made again; None for what follows from the limits.
    """

    limits: Limits = DEFAULT_LIMITS
    registries: Mapping[str, HostSettings] = field(default_factory=dict)
    auth_file: Path | None = None
    credentials: Credentials | None = None
    typed: bool = True
    no_https: bool = False
    sink: LayerSink = field(default_factory=DigestingSink)
    progress: Progress = field(default_factory=Silent)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    shared: Connections | None = None
    platform: Platform | None = None
    retry: RetryPolicy | None = None

    @property
    def policy(self) -> RetryPolicy:
        """When requests are made again."""
        return self.retry or patience(self.limits)
