"""A SIF file in the store for an image named by its URI: what ``sifmake exec docker://...`` runs.

The file is found again by the digest of the image's manifest, so two tags of one image share it. What a name meant last
is noted for runs that may not ask a registry.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import SourceError
from sifmake.oci.platform import host_platform
from sifmake.pipeline.checked_sif import add_checked, find_checked
from sifmake.pipeline.direct import Pull, pull

if TYPE_CHECKING:
    from sifmake.oci.model import Platform
    from sifmake.pipeline.configuration import Configuration
    from sifmake.progress import Progress
    from sifmake.sources.base import Resolved
    from sifmake.sources.settings import SourceSettings
    from sifmake.store import Store
    from sifmake.store.stored_files import Found


@dataclass(frozen=True)
class Wanted:
    """An image to run.

    Attributes:
        uri: As for ``pull``.
        offline: Whether no registry may be asked.
        plain_http: Whether the registry is asked without TLS.
        auth_file: Registry credentials in Docker's form.
    """

    uri: str
    offline: bool = False
    plain_http: bool = False
    auth_file: Path | None = None


def find_or_build(wanted: Wanted, progress: Progress) -> Found:
    """Return the SIF file of an image in the store, open; made now if it is not there, and never signed.

    Store, registries and limits are those of the project in this folder, as for ``pull``.

    Raises:
        ConfigError: The configuration cannot be read.
        SourceError: The image cannot be read, or the run is offline and the store lacks it.
        SifmakeError: No SIF file can be made of it.
    """
    from sifmake.pipeline.project import Project
    from sifmake.pipeline.provisional import ProvisionalPacks
    from sifmake.reference import parse_uri
    from sifmake.reference.uri import SIF_TRANSPORTS
    from sifmake.registry.shared import Connections
    from sifmake.sources.settings import SourceSettings

    options = replace(Project(Path.cwd()).configuration, key="")
    store = options.open_store(progress)
    if wanted.offline:
        return _noted(store, wanted.uri)
    settings = SourceSettings(
        limits=options.limits,
        registries=options.registries,
        no_https=wanted.plain_http,
        auth_file=wanted.auth_file or options.auth_file,
        sink=ProvisionalPacks(store, "gzip", options.limits, progress),
        progress=progress,
        shared=Connections(),
    )
    if parse_uri(wanted.uri).transport in SIF_TRANSPORTS:
        return _fetched(store, wanted, settings)
    platform = host_platform()
    resolved = _resolve(wanted, settings, store, platform)
    key = _key(resolved.manifest_digest)
    uri = _pinned(wanted.uri, resolved)
    found = find_checked(store, key) or _built(store, replace(wanted, uri=uri), platform, key, settings, options)
    _keep(store, wanted.uri, key)
    return found


def _resolve(wanted: Wanted, settings: SourceSettings, store: Store, platform: Platform) -> Resolved:
    from sifmake.pipeline.image_cache import load_image
    from sifmake.pipeline.indexes import resolve_image
    from sifmake.sources.opening import open_source

    source = open_source(wanted.uri, settings)
    try:
        resolved = resolve_image(store, source, platform, settings.limits)
        if not store.sif_paths(_key(resolved.manifest_digest)):
            load_image(store, source, resolved.manifest_digest)
        return resolved
    finally:
        source.close()


def _pinned(uri: str, resolved: Resolved) -> str:
    """Return a URI whose tag cannot come to mean something else before the image is fetched."""
    return f"{uri}@{resolved.digest}" if uri.startswith("docker:") and "@" not in uri else uri


def _built(
    store: Store, wanted: Wanted, platform: Platform, key: str, settings: SourceSettings, configuration: Configuration
) -> Found:
    with store.lock(key):
        found = find_checked(store, key)
        if found is None:
            options = (platform, "gzip", wanted.plain_http, wanted.auth_file)
            found = add_checked(
                store, key, lambda path: pull(Pull(wanted.uri, path, *options), settings.progress, configuration)
            )
    return found


def _fetched(store: Store, wanted: Wanted, settings: SourceSettings) -> Found:
    """Return a finished SIF file that a registry or server has; without a digest it is fetched every time."""
    from sifmake.pipeline.finished_sif import fetch_whole
    from sifmake.sources.opening import open_sif_source

    source = open_sif_source(wanted.uri, settings)
    try:
        digest = source.resolve()
        key = _key(digest or f"sha256:{hashlib.sha256(wanted.uri.encode()).hexdigest()}")
        found = find_checked(store, key) if digest else None
        if found is None:
            found = add_checked(store, key, lambda path: fetch_whole(source, path, wanted.uri))
    finally:
        source.close()
    _keep(store, wanted.uri, key)
    return found


def _key(digest: str) -> str:
    """Return the store's key of a SIF file made from an image by this version of the stages."""
    from sifmake.pipeline.engine import format_versions

    versions = "-".join(str(number) for _name, number in sorted(format_versions().items()))
    return f"{digest.partition(':')[2]}-gzip-{versions}"


def _name(uri: str) -> str:
    return f"{uri} {host_platform()}"


def _keep(store: Store, uri: str, key: str) -> None:
    """Keep what a name meant, and in another file that it did: the notes of two names may take each other's place."""
    name = _name(uri)
    store.keep_name(name, key)
    store.keep_name(f"{key} for {name}", key)


def _noted(store: Store, uri: str) -> Found:
    name = _name(uri)
    key = store.find_name(name)
    confirmed = key and store.find_name(f"{key} for {name}") == key
    found = find_checked(store, key) if confirmed else None
    if found is None:
        raise SourceError("is not in the store, and the run is offline", where=uri, hint="run it once with network")
    return found
