"""Talking to container registries (OCI distribution spec).

Importing this package is cheap; ``sifmake.registry.transport`` brings the HTTP library.
"""

from sifmake.registry.settings import DEFAULT_RETRY, Credentials, HostSettings, RetryPolicy

__all__ = ["DEFAULT_RETRY", "Credentials", "HostSettings", "RetryPolicy"]
