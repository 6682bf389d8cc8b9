"""Settings of hosts: from the configuration, else certificates from ``certs.d``, as for Docker and Podman."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import ConfigError
from sifmake.files import exists_quietly
from sifmake.reference.reference import DOCKER_HUB, DOCKER_HUB_API
from sifmake.registry.settings import HostSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_FOLDERS = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))


@dataclass(frozen=True)
class HostSettingsLookup:
    """The settings of hosts.

    Attributes:
        configured: By host[:port], as in references.
        environ: Gives the location of the user's ``certs.d``.
    """

    configured: Mapping[str, HostSettings]
    environ: Mapping[str, str]

    def of(self, host: str) -> HostSettings:
        """Return a host's settings; certificates come from ``certs.d`` if the configuration names none.

        Raises:
            ConfigError: There is a client certificate without its key.
        """
        own = self.configured.get(host, HostSettings())
        if own.plain_http or own.ca_file or own.client_cert:
            return own
        found = self._find_folder(host)
        return own if found is None else _with_certificates(own, found)

    def knows(self, host: str) -> bool:
        """Tell whether there are settings for a host."""
        return host in self.configured or self._find_folder(host) is not None

    def _find_folder(self, host: str) -> Path | None:
        """Return the first folder for a host; like Docker and Podman, ignore the others."""
        name = DOCKER_HUB if host == DOCKER_HUB_API else host
        home = self.environ.get("XDG_CONFIG_HOME") or f"{self.environ.get('HOME', '')}/.config"
        folders = [Path(home, "containers/certs.d"), *SYSTEM_FOLDERS]
        return next((folder / name for folder in folders if exists_quietly(folder / name)), None)


def _with_certificates(own: HostSettings, folder: Path) -> HostSettings:
    """Read a folder: trust ``*.crt`` in addition to the system's CAs; ``X.cert`` with ``X.key`` is for the client."""
    try:
        files = sorted(folder.iterdir())
    except OSError:
        return own
    own = own._replace(more_ca=tuple(path for path in files if path.suffix == ".crt"))
    certificate = next((path for path in files if path.suffix == ".cert"), None)
    if certificate is None:
        return own
    key = certificate.with_suffix(".key")
    if not key.exists():
        hint = "add the key, or rename a CA certificate to *.crt"
        raise ConfigError(f"there is no {key.name} for this client certificate", where=str(certificate), hint=hint)
    return own._replace(client_cert=certificate, client_key=key)
