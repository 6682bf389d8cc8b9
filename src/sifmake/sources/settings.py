"""Settings of all sources together."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.progress import Progress, Silent
from sifmake.registry.settings import DEFAULT_RETRY, Credentials, HostSettings, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class SourceSettings:
    """What a source needs to know besides the URI.

    Attributes:
        limits: Bounds on what is read.
        registries: By ``host[:port]`` as it stands in references (``docker.io`` for Docker Hub).
        auth_file: Credentials in Docker's form; asked instead of the usual files.
        credentials: Used for every registry, before anything else.
        no_https: Whether every registry may be spoken to without TLS, where TLS does not answer.
        temp_folder: Returns the folder for spooling compressed archives; called when one is needed.
        progress: Told messages.
        environ: Environment variables: credentials, proxies, ``DOCKER_HOST``.
        retry: When requests are made again.
    """

    limits: Limits = DEFAULT_LIMITS
    registries: Mapping[str, HostSettings] = field(default_factory=dict)
    auth_file: Path | None = None
    credentials: Credentials | None = None
    no_https: bool = False
    temp_folder: Callable[[], Path] | None = None
    progress: Progress = field(default_factory=Silent)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    retry: RetryPolicy = DEFAULT_RETRY

    def spool_folder(self) -> Path:
        """Return the folder for temporary files: the given one, else ``TMPDIR``, else the system's."""
        if self.temp_folder is not None:
            return self.temp_folder()
        return Path(self.environ.get("TMPDIR") or tempfile.gettempdir())
