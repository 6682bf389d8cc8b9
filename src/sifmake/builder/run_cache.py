"""Keep a SIF file in the store for an image named by its URI, for ``sifmake exec docker://...``.

The file is found again by the digest of the image's manifest, so two tags of one image share it. A note records which
image a name pointed to last, for offline runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sifmake.block_compression import RUN_COMPRESSION
from sifmake.builder.checked_sif import add_checked, find_checked, note_checked
from sifmake.builder.name_meanings import digest_of_key, find_meaning, keep_meaning, sif_key
from sifmake.errors import SourceError
from sifmake.oci.platform import host_platform
from sifmake.reference import split_local
from sifmake.reference.uri import FILE, as_uri

if TYPE_CHECKING:
    from sifmake.builder.builder import Builder
    from sifmake.oci.model import Platform
    from sifmake.progress import Progress
    from sifmake.project.configuration import Configuration
    from sifmake.reference import Uri
    from sifmake.sources.base import Source
    from sifmake.store.stored_files import Found

_LOCAL = frozenset({"oci", "oci-archive", "docker-archive", FILE})
"""Transports of files and folders."""


@dataclass(frozen=True)
class ImageToRun:
    """An image to run.

    Attributes:
        uri: The image, as for ``pull``.
        offline: Whether to ask no registry.
        plain_http: Whether to use plain HTTP for the registry.
        auth_file: File with registry credentials in Docker's format.
    """

    uri: Uri | str
    offline: bool = False
    plain_http: bool = False
    auth_file: Path | None = None


Later = Callable[[Callable[[], None]], bool]
"""Does work in another process and returns True; False if the caller has to do it."""


def _never(_work: Callable[[], None]) -> bool:
    return False


def find_or_build(
    wanted: ImageToRun, progress: Progress, configuration: Configuration | None = None, later: Later = _never
) -> Found:
    """Return the SIF file of an image from the store, open; if missing, it is built now, unsigned.

    Args:
        wanted: The image.
        progress: Receives messages.
        configuration: Store, registries and limits; None for those of the project in this folder, as for ``pull``.
        later: Gets what remains to be done when a new file is complete and proven: to sync it, to give it its name, and
            to write notes about it. Until then, the path of the result does not exist.

    Raises:
        ConfigError: The configuration cannot be read.
        SourceError: The image cannot be read, or the run is offline and the store lacks it.
        SifmakeError: No SIF file can be made from it.
    """
    from sifmake.builder.builder import RegistryAccess, make_builder
    from sifmake.project.project import Project

    options, uri = configuration or Project(Path.cwd()).configuration, as_uri(wanted.uri)
    builder = make_builder(options, progress, RegistryAccess(wanted.plain_http, wanted.auth_file))
    try:
        if wanted.offline and not _is_here(uri):
            return _at_hand(builder, uri, later)
        return fetch_stored(builder, uri, host_platform()) if uri.is_sif else _of_layers(builder, uri, later)
    except OSError as error:
        from sifmake.places import (
            store_place,
            tell_place,
        )  # imported only here, because images in the store start without it

        tell_place(error, store_place(builder.store.root))
        raise


def _is_here(uri: Uri) -> bool:
    """Tell whether an image is read from a file or folder, which needs no network."""
    return uri.transport in _LOCAL and split_local(uri.rest).path.exists()


def _of_layers(builder: Builder, uri: Uri, later: Later) -> Found:
    """Return the SIF file of the image that a name points to now."""
    store, platform = builder.store, host_platform()
    source = builder.open_source(uri, RUN_COMPRESSION)
    try:
        resolved = builder.resolve(source, platform)
        key = sif_key(resolved.manifest_digest)
        keep = partial(keep_meaning, store, uri, platform, key)
        if not store.sifs.paths(key):
            builder.load_image(source, resolved.manifest_digest)
        elif (found := find_checked(store, key)) is not None:
            keep()
            return found
        return _built(builder, source, resolved.manifest_digest, keep, later)
    finally:
        source.close()


def _built(
    builder: Builder, source: Source, manifest_digest: str, keep: Callable[[], object], later: Later = _never
) -> Found:
    """Build the SIF file of an image, once even if several processes need it.

    Args:
        builder: Provides the store.
        source: Provides what the store lacks.
        manifest_digest: The image.
        keep: Keeps what else belongs to the image, after its file has its name.
        later: See :func:`find_or_build`; the other process has the lock until it ends.
    """
    from sifmake.places import store_place

    store, key = builder.store, sif_key(manifest_digest)
    place = store_place(store.root)
    with store.lock(key):
        if (found := find_checked(store, key)) is not None:
            keep()
            return found
        with store.sifs.begin(key) as begun, ExitStack() as failed:
            made = builder.write_sif(source, manifest_digest, begun.target, place, RUN_COMPRESSION)
            found = begun.found(made.sha256)
            failed.callback(found.close)

            def finish() -> None:
                begun.finish(made.sha256)
                note_checked(store, found)
                keep()

            begun.left = later(finish)
            if not begun.left:
                finish()
            failed.pop_all()
            return found


def fetch_stored(builder: Builder, uri: Uri, platform: Platform) -> Found:
    """Return a prebuilt SIF file from a registry or server; without a digest it is downloaded every time.

    Args:
        builder: Provides the store.
        uri: The file.
        platform: The platform to choose from an index of SIF files.

    Raises:
        SourceError: The file cannot be downloaded.
    """
    from sifmake.builder.fetch_sif import fetch_whole
    from sifmake.builder.older_sifs import older_of_name
    from sifmake.places import store_place

    store, place = builder.store, store_place(builder.store.root)
    source = builder.open_sif_source(uri, platform, (older_of_name(store, uri, platform),))
    try:
        digest = source.resolve()
        key = key_of_file(uri, digest)
        found = find_checked(store, key) if digest else None
        if found is None:
            found = add_checked(store, key, lambda path: fetch_whole(source, path, uri.given, outputs=(place,)))
    finally:
        source.close()
    keep_meaning(store, uri, platform, key)
    return found


def key_of_file(uri: Uri, digest: str | None) -> str:
    """Return the key of a prebuilt SIF file: from the digest given by its source, else from its URI."""
    return sif_key(digest or f"sha256:{hashlib.sha256(uri.given.encode()).hexdigest()}")


def _at_hand(builder: Builder, uri: Uri, later: Later) -> Found:
    """Return the SIF file of an image without asking a registry, from what earlier runs have stored."""
    key = _known_key(builder, uri, host_platform())
    found = find_checked(builder.store, key) if key else None
    if found is not None:
        return found
    source = _StoreOnly(uri)
    if not key or source.transport != "docker":
        raise source.lacking()
    return _built(builder, source, digest_of_key(key), lambda: None, later)


def _known_key(builder: Builder, uri: Uri, platform: Platform) -> str:
    """Return the key of the image that a name pointed to last, or that its index digest proves; empty if unknown."""
    digest = uri.reference.digest if uri.transport in ("docker", "oras") else ""
    if digest and uri.is_sif:
        return sif_key(digest)
    if not digest:
        return find_meaning(builder.store, uri, platform)
    from sifmake.builder.indexes import ProvenIndexes  # imported here because a tag does not need it

    manifest = ProvenIndexes(builder.store, builder.settings.limits, "").find_manifest(digest, platform)
    return sif_key(manifest) if manifest else ""


class _StoreOnly:
    """The source of an image that must be in the store.

    Attributes:
        transport: The transport of the URI.
        name: The canonical reference.
    """

    def __init__(self, uri: Uri) -> None:
        self.transport = uri.transport
        self.name = uri.reference.canonical if self.transport == "docker" else uri.given
        self._uri = uri

    def lacking(self) -> SourceError:
        """Return the error for an image that the store lacks."""
        hint = "run the command once with network access"
        if self.transport in _LOCAL or self.transport == "docker-daemon":
            hint = "check the path" if self.transport in _LOCAL else "run the command once without --offline"
        return SourceError("the image is not in the store, and the run is offline", where=self._uri.given, hint=hint)

    def _refuse(self, *_: object) -> NoReturn:
        raise self.lacking()

    resolve = image = document = read_through = open_layer = _refuse

    def close(self) -> None:
        """Do nothing, because nothing is open."""
