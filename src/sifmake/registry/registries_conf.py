"""``registries.conf``: mirrors, moved and blocked registries, as in Podman and Apptainer.

containers-registries.conf(5), version 2. Short names and search lists are not used: a name without a host belongs to
Docker Hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.errors import ConfigError, RegistryError
from sifmake.files import exists_quietly

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sifmake.reference import Reference

SYSTEM_FOLDER = Path("/etc/containers")
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True)
class Location:
    """A place from which a repository can be read.

    Attributes:
        host: ``host[:port]``.
        repository: Its name on that host.
        insecure: Whether plain HTTP is accepted.
    """

    host: str
    repository: str
    insecure: bool = False


def find_locations(reference: Reference, environ: Mapping[str, str]) -> list[Location]:
    """Return the configured places of a repository: mirrors, then the registry; empty if there is no entry.

    Raises:
        ConfigError: A file is damaged.
        RegistryError: The registry is blocked.
    """
    name = f"{reference.registry}/{reference.repository}"
    entries: dict[str, tuple[dict[str, Any], Path]] = {}
    for path in _files(environ):
        for entry in _read(path):
            prefix = str(entry.get("prefix") or entry.get("location") or "").rstrip("/")
            entries[prefix] = (entry, path)
    matching = [prefix for prefix in entries if _matches(prefix, reference.registry, name)]
    if not matching:
        return []
    prefix = max(matching, key=len)
    entry, path = entries[prefix]
    if entry.get("blocked"):
        raise RegistryError(f"the registry is blocked by {path}", where=name)
    rest = name[len(reference.registry if prefix.startswith("*.") else prefix) :]
    mirrors = _mirrors(entry, pinned=bool(reference.digest))
    try:
        return [_moved(each, name, rest) for each in [*mirrors, entry]]
    except ValueError as error:
        raise ConfigError(f"{str(error)!r} is not the location of a registry", where=str(path)) from None


def _files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files in the order in which later ones replace entries of earlier ones."""
    own = Path(environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config") / "containers"
    named = environ.get("CONTAINERS_REGISTRIES_CONF")
    main = [Path(named)] if named else [own / "registries.conf", SYSTEM_FOLDER / "registries.conf"]
    found = [path for path in main if exists_quietly(path)][:1]
    for folder in (SYSTEM_FOLDER / "registries.conf.d", own / "registries.conf.d"):
        found += sorted(folder.glob("*.conf")) if exists_quietly(folder) else []
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE)
    except OSError:
        return []
    if b"[[registry" not in data:
        return []
    import tomllib

    try:
        entries = tomllib.loads(data.decode()).get("registry", [])
        return [{**entry, "mirror": [dict(mirror) for mirror in entry.get("mirror", [])]} for entry in entries]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"the file is damaged ({error})", where=str(path)) from None


def _matches(prefix: str, registry: str, name: str) -> bool:
    """Tell whether a prefix matches complete components of a name; ``*.example.org`` matches hosts."""
    if prefix.startswith("*."):
        return registry.partition(":")[0].endswith(prefix[1:])
    return bool(prefix) and f"{name}/".startswith(f"{prefix}/")


def _mirrors(entry: dict[str, Any], *, pinned: bool) -> Iterator[dict[str, Any]]:
    """Yield the mirrors that serve references by digest, or those that serve references by tag."""
    for mirror in entry.get("mirror", []):
        use = mirror.get("pull-from-mirror", "digest-only" if entry.get("mirror-by-digest-only") else "all")
        if use == "all" or (use == "digest-only") == pinned:
            yield mirror


def _moved(entry: dict[str, Any], name: str, rest: str) -> Location:
    """Return the place of a repository in an entry or mirror: its location replaces all but the rest of the name."""
    location = str(entry.get("location") or "").rstrip("/")
    host, _, repository = (location + rest if location else name).partition("/")
    if not host or not repository or "://" in location:
        raise ValueError(location)
    return Location(host, repository, bool(entry.get("insecure")))
