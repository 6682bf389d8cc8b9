"""Connections that all images of a run share: one TLS context and one pool for each host."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from sifmake.registry.settings import RetryPolicy
    from sifmake.registry.tokens import Grants
    from sifmake.registry.transport import Transport


class Connections:
    """Opens transports on first use; fast to import and to create.

    Attributes:
        left_alone: Addresses of optional services that failed in this run, and are not asked again, each with a mark of
            who found out first.
    """

    def __init__(self) -> None:
        self.left_alone: dict[str, object] = {}
        self._transports: dict[tuple[int, int, RetryPolicy], Transport] = {}
        self._grants: dict[tuple[Hashable, ...], Grants] = {}
        self._lock = threading.Lock()

    def transport(self, environ: Mapping[str, str], policy: RetryPolicy) -> Transport:
        """Return the transport for an environment and a policy.

        A forked process gets new ones, because two processes on one connection would read each other's answers.
        """
        from sifmake.registry.transport import Transport

        key = os.getpid(), id(environ), policy
        with self._lock:
            if key not in self._transports:
                self._transports[key] = Transport(environ, policy)
            return self._transports[key]

    def grants(self, *what: Hashable) -> Grants:
        """Return what a registry has granted in this run, so that it is asked for a token once for all images.

        Args:
            what: The host, the repository, and everything that decides which credentials are sent.
        """
        from sifmake.registry.tokens import Grants

        with self._lock:
            return self._grants.setdefault((os.getpid(), *what), Grants())

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for transport in self._transports.values():
                transport.close()
            self._transports.clear()
