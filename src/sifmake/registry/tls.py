"""TLS for registries: trusted CAs and client certificates."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from sifmake.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.registry.settings import HostSettings

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def make_context(settings: HostSettings, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return the TLS context that connections share, because reading the system's certificates takes long.

    Raises:
        RegistryError: A file cannot be used.
    """
    context = create_urllib3_context()
    context.verify_mode, context.check_hostname = ssl.CERT_REQUIRED, True
    for path in [settings.ca_file or _system_bundle(environ), *settings.more_ca]:
        try:
            context.load_verify_locations(path)
        except OSError as error:
            raise _unusable(path, "certificate", error) from None
    if settings.client_cert is not None:
        try:
            context.load_cert_chain(settings.client_cert, settings.client_key)
        except OSError as error:
            raise _unusable(settings.client_cert, "client certificate with key", error) from None
    return context


def _system_bundle(environ: Mapping[str, str]) -> Path:
    """Return the system's trusted certificates, which include a site's CA, unlike a bundled list."""
    named = [environ[name] for name in _BUNDLE_VARIABLES if environ.get(name)]
    found = ssl.get_default_verify_paths().cafile
    candidates = [*named, *([found] if found else []), *_BUNDLES, DEFAULT_CA_BUNDLE_PATH]
    return next(path for path in map(Path, candidates) if path.is_file())


def _unusable(path: Path, what: str, error: OSError) -> RegistryError:
    reason = "not readable as PEM" if isinstance(error, ssl.SSLError) else error.strerror or str(error)
    return RegistryError(f"the {what} cannot be used ({reason})", where=str(path))
