"""Build one image without a project, a lock file or records, as ``sifmake pull`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sifmake.files import make_folders, replace_file
from sifmake.oci.model import Platform
from sifmake.output_path import check_output
from sifmake.places import output_place, store_place, telling_places
from sifmake.project.configuration import Configuration
from sifmake.reference.uri import FILE, as_uri
from sifmake.temporaries import folder_beside

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.assembly.image import SifSummary
    from sifmake.builder.builder import Builder
    from sifmake.progress import Progress
    from sifmake.reference import Uri
    from sifmake.registry.settings import Credentials


class PullRequest(msgspec.Struct, frozen=True):
    """Which image to build, and the file to write.

    Attributes:
        uri: The image.
        target: The SIF file; replaced when the new one is finished.
        platform: The platform of the image.
        demanded: Whether the user asked for this platform, so that a SIF file for another one is refused.
        compression: How blocks are compressed, as for :func:`~sifmake.layers.codec.make_codec`.
        plain_http: Whether to use plain HTTP for the registry.
        auth_file: File with registry credentials in Docker's format.
        credentials: Credentials for the registry of the image; they take precedence over all others.
    """

    uri: Uri | str
    target: Path
    platform: Platform = msgspec.field(default_factory=Platform)
    compression: str = "gzip"
    plain_http: bool = False
    auth_file: Path | None = None
    credentials: Credentials | None = None
    demanded: bool = False


def pull(request: PullRequest, progress: Progress, configuration: Configuration | None = None) -> None:
    """Build a SIF file from an image; sign and verify it if a key is configured.

    Args:
        request: The image and the file to write.
        progress: Receives messages.
        configuration: Store, registries, limits and key; None for defaults.

    Raises:
        SifmakeError: The file cannot be built; the target is unchanged.
    """
    from sifmake.builder.builder import RegistryAccess, make_builder

    options, uri = configuration or Configuration(), as_uri(request.uri)
    access = RegistryAccess(request.plain_http, request.auth_file, request.credentials)
    builder = make_builder(options, progress, access)
    with telling_places(store_place(builder.store.root), output_place(request.target)):
        make_folders(request.target.parent)
        check_output(request.target)
        if uri.is_sif:
            _fetch(builder, uri, request)
        elif options.key:
            _pull_signed(builder, uri, request, options)
        else:
            _pull_layers(builder, uri, request)


def _pull_signed(builder: Builder, uri: Uri, request: PullRequest, configuration: Configuration) -> None:
    """Build the file beside the target; rename it when it is signed and verified."""
    from sifmake.builder.image_signing import sign_and_verify

    with folder_beside(request.target) as folder:
        temporary = folder / request.target.name
        digests = _pull_layers(builder, uri, msgspec.structs.replace(request, target=temporary), request.target).objects
        sign_and_verify(configuration, temporary, digests, builder.settings.progress)
        replace_file(temporary, request.target)


def _fetch(builder: Builder, uri: Uri, request: PullRequest) -> None:
    """Download a prebuilt SIF file, and keep a copy in the store for runs without a network."""
    from sifmake.builder.fetch_sif import fetch_whole
    from sifmake.builder.kept_copy import keep_copy
    from sifmake.builder.older_sifs import older_file, older_of_name

    wanted = request.platform.architecture if request.demanded else ""
    older = (older_file(request.target), older_of_name(builder.store, uri, request.platform))
    source = builder.open_sif_source(uri, request.platform, older)
    try:
        digest = source.resolve() if source.transport == "oras" else None
        fetch_whole(source, request.target, uri.given, outputs=(output_place(request.target),), architecture=wanted)
    finally:
        source.close()
    if source.transport != FILE:
        keep_copy(builder.store, uri, request.platform, request.target, digest)


def _pull_layers(builder: Builder, uri: Uri, request: PullRequest, known_as: Path | None = None) -> SifSummary:
    """Build the file of a request; messages name the target that the user asked for."""
    from sifmake.builder.name_meanings import keep_meaning, sif_key

    source = builder.open_source(uri, request.compression)
    try:
        resolved = builder.resolve(source, request.platform)
        output = output_place(known_as or request.target)
        built = builder.write_sif(source, resolved.manifest_digest, request.target, output, request.compression)
    finally:
        source.close()
    if source.transport == "docker":
        keep_meaning(builder.store, uri, request.platform, sif_key(resolved.manifest_digest))
    return built
