"""A SIF file in the store for an image named by its URI: what ``sifmake exec docker://...`` runs.

The file is found again by the digest of the image's manifest, so two tags of one image share it. What a name meant last
is noted for runs that may not ask a registry.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sifmake.builder.checked_sif import add_checked, find_checked
from sifmake.builder.name_meanings import digest_of_key, find_meaning, keep_meaning, sif_key
from sifmake.builder.pull import PullRequest, build_image, pull
from sifmake.errors import SourceError
from sifmake.oci.platform import host_platform

if TYPE_CHECKING:
    from sifmake.limits import Limits
    from sifmake.oci.model import Platform
    from sifmake.progress import Progress
    from sifmake.project.configuration import Configuration
    from sifmake.sources.base import Resolved
    from sifmake.sources.settings import SourceSettings
    from sifmake.store import Store
    from sifmake.store.stored_files import Found


@dataclass(frozen=True)
class ImageToRun:
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


def find_or_build(wanted: ImageToRun, progress: Progress) -> Found:
    """Return the SIF file of an image in the store, open; made now if it is not there, and never signed.

    Store, registries and limits are those of the project in this folder, as for ``pull``.

    Raises:
        ConfigError: The configuration cannot be read.
        SourceError: The image cannot be read, or the run is offline and the store lacks it.
        SifmakeError: No SIF file can be made of it.
    """
    from sifmake.project.project import Project
    from sifmake.reference import parse_uri
    from sifmake.reference.uri import SIF_TRANSPORTS

    options = replace(Project(Path.cwd()).configuration, key="")
    store = options.open_store(progress)
    if wanted.offline:
        return _at_hand(store, wanted, options, progress)
    settings = _settings(store, wanted, options, progress)
    if parse_uri(wanted.uri).transport in SIF_TRANSPORTS:
        return _fetched(store, wanted, settings)
    platform = host_platform()
    resolved = _resolve(wanted, settings, store, platform)
    key = sif_key(resolved.manifest_digest)
    uri = _pinned(wanted.uri, resolved)
    found = find_checked(store, key) or _built(store, replace(wanted, uri=uri), platform, key, settings, options)
    keep_meaning(store, wanted.uri, platform, key)
    return found


def _settings(store: Store, wanted: ImageToRun, options: Configuration, progress: Progress) -> SourceSettings:
    from sifmake.builder.streamed_packs import StreamedPacks
    from sifmake.registry.shared import Connections
    from sifmake.sources.settings import SourceSettings

    return SourceSettings(
        limits=options.limits,
        registries=options.registries,
        no_https=wanted.plain_http,
        auth_file=wanted.auth_file or options.auth_file,
        sink=StreamedPacks(store, "gzip", options.limits, progress),
        progress=progress,
        shared=Connections(),
    )


def _resolve(wanted: ImageToRun, settings: SourceSettings, store: Store, platform: Platform) -> Resolved:
    from sifmake.builder.image_cache import load_image
    from sifmake.builder.indexes import resolve_image
    from sifmake.sources.opening import open_source

    source = open_source(wanted.uri, settings)
    try:
        resolved = resolve_image(store, source, platform, settings.limits)
        if not store.sif_paths(sif_key(resolved.manifest_digest)):
            load_image(store, source, resolved.manifest_digest)
        return resolved
    finally:
        source.close()


def _pinned(uri: str, resolved: Resolved) -> str:
    """Return a URI whose tag cannot come to mean something else before the image is fetched."""
    return f"{uri}@{resolved.digest}" if uri.startswith("docker:") and "@" not in uri else uri


def _built(
    store: Store,
    wanted: ImageToRun,
    platform: Platform,
    key: str,
    settings: SourceSettings,
    configuration: Configuration,
) -> Found:
    with store.lock(key):
        found = find_checked(store, key)
        if found is None:
            options = (platform, "gzip", wanted.plain_http, wanted.auth_file)
            found = add_checked(
                store, key, lambda path: pull(PullRequest(wanted.uri, path, *options), settings.progress, configuration)
            )
    return found


def _fetched(store: Store, wanted: ImageToRun, settings: SourceSettings) -> Found:
    """Return a finished SIF file that a registry or server has; without a digest it is fetched every time."""
    from sifmake.builder.fetch_sif import fetch_whole
    from sifmake.sources.opening import open_sif_source

    source = open_sif_source(wanted.uri, settings)
    try:
        digest = source.resolve()
        key = sif_key(digest or f"sha256:{hashlib.sha256(wanted.uri.encode()).hexdigest()}")
        found = find_checked(store, key) if digest else None
        if found is None:
            found = add_checked(store, key, lambda path: fetch_whole(source, path, wanted.uri))
    finally:
        source.close()
    keep_meaning(store, wanted.uri, host_platform(), key)
    return found


def _at_hand(store: Store, wanted: ImageToRun, options: Configuration, progress: Progress) -> Found:
    """Return the SIF file of an image without asking for it, made of what earlier runs have put into the store."""
    platform = host_platform()
    key = _known_key(store, wanted.uri, platform, options.limits)
    found = find_checked(store, key) if key else None
    if found is not None:
        return found
    source = _StoreOnly(wanted.uri)
    if not key or source.transport != "docker":
        raise source.lacking()
    settings = _settings(store, wanted, options, progress)
    with store.lock(key):
        request = PullRequest(wanted.uri, Path(), platform)
        return find_checked(store, key) or add_checked(
            store,
            key,
            lambda path: build_image(source, digest_of_key(key), store, replace(request, target=path), settings),
        )


def _known_key(store: Store, uri: str, platform: Platform, limits: Limits) -> str:
    """Return the key of what a name meant last, or of what the index of its digest has; empty where none is known."""
    from sifmake.reference import parse_reference, parse_uri

    parsed = parse_uri(uri)
    digest = parse_reference(parsed.rest).digest if parsed.transport == "docker" else ""
    if not digest:
        return find_meaning(store, uri, platform)
    from sifmake.builder.indexes import ProvenIndexes  # only here: not to be loaded for a tag

    manifest = ProvenIndexes(store, limits, "").find_manifest(digest, platform)
    return sif_key(manifest) if manifest else ""


class _StoreOnly:
    """The source of an image that the store has to have.

    Attributes:
        transport: That of the URI.
        name: The canonical reference.
    """

    def __init__(self, uri: str) -> None:
        from sifmake.reference import parse_reference, parse_uri

        parsed = parse_uri(uri)
        self.transport = parsed.transport
        self.name = parse_reference(parsed.rest).canonical if self.transport == "docker" else uri
        self._uri = uri

    def lacking(self) -> SourceError:
        """Return the error for what the store lacks."""
        hint = "run it once with network"
        return SourceError("is not in the store, and the run is offline", where=self._uri, hint=hint)

    def _refuse(self, *_: object) -> NoReturn:
        raise self.lacking()

    resolve = image = document = read_through = open_layer = _refuse

    def close(self) -> None:
        """Nothing is held open."""
