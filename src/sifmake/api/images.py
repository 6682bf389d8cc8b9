"""Build SIF files from images, and upload them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sifmake.api.common import REPLACE_HINT, StrPath, as_path, registry_credentials
from sifmake.errors import OutputPathError, TargetExistsError, UsageError
from sifmake.progress import Progress, Silent


@dataclass(frozen=True)
class SifFile:
    """A SIF file that was built; it can be used in place of a path.

    Attributes:
        path: The file.
        size: Bytes.
    """

    path: Path
    size: int

    def __fspath__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class PushedSif:
    """A SIF file in a registry.

    Attributes:
        reference: Its reference with tag and digest: ``oras://REGISTRY/NAME:TAG@sha256:...``.
        digest: Digest of its manifest.
    """

    reference: str
    digest: str


def pull(  # noqa: PLR0913  # keywords of the API, as a command has options; all but one have a default that fits
    uri: str,
    target: StrPath | None = None,
    *,
    folder: StrPath = ".",
    platform: str = "",
    compression: str = "gzip",
    force: bool = False,
    plain_http: bool = False,
    auth_file: StrPath | None = None,
    credentials: tuple[str, str] | None = None,
    root: StrPath = ".",
    progress: Progress | None = None,
) -> SifFile:
    """Build a SIF file from a container image, as ``sifmake pull`` does; sign it if ``root`` configures a key.

    Args:
        uri: The image: ``docker://``, ``oci:``, ``oci-archive:``, ``docker-archive:`` or ``docker-daemon:``; or a
            prebuilt SIF file: ``oras://`` or ``https://``.
        target: The file to write; None for the default name, such as ``alpine_3.20.sif``.
        folder: Folder that a relative target is in.
        platform: ``OS/ARCH[/VARIANT]`` or ``ARCH[/VARIANT]``; empty for this machine's.
        compression: Compression of blocks: ``gzip``, ``fast`` or ``zstd``, or with a level as in ``gzip:9``.
        force: Whether to replace an existing target when the new file is complete.
        plain_http: Whether to use plain HTTP for the registry.
        auth_file: File with registry credentials in Docker's format, instead of the usual files.
        credentials: User name and password for the registry of the image; they take precedence over all others.
        root: Folder whose ``sifmake.yaml``, if there is one, sets the store, registries, limits and key.
        progress: Gets messages and the progress of each layer.

    Raises:
        TargetExistsError: The target exists and ``force`` is not set.
        OutputPathError: The target is a folder or not a regular file, or cannot be written.
        SifmakeError: The image cannot be read, or cannot become a SIF file. An existing target is unchanged.
        OSError: A file cannot be read or written.
    """
    from sifmake.block_compression import block_format, full_compression
    from sifmake.builder.image_build import ZSTD_WARNING
    from sifmake.builder.pull import PullRequest
    from sifmake.builder.pull import pull as build
    from sifmake.oci.platform import host_platform, parse_platform
    from sifmake.output_path import check_output
    from sifmake.project.project import Project
    from sifmake.reference import default_sif_name, parse_uri

    image = parse_uri(uri)
    usual = default_sif_name(image)
    path = Path(folder, usual if target is None else target)
    check_output(path, usual)
    if image.transport == "file" and path.is_file() and Path(image.rest).exists() and path.samefile(image.rest):
        what = "the output file is the image itself, so it is not replaced"
        raise OutputPathError(what, where=str(path), hint="name another output file")
    if os.path.lexists(path) and not force:
        raise TargetExistsError("the file already exists", where=str(path), hint=REPLACE_HINT)
    told = progress or Silent()
    compression = full_compression(compression)
    if block_format(compression) == "zstd":
        told.warning(ZSTD_WARNING)
    wanted = parse_platform(platform) if platform else host_platform()
    user = registry_credentials(credentials)
    demanded = bool(platform)
    request = PullRequest(image, path, wanted, compression, plain_http, as_path(auth_file), user, demanded)
    build(request, told, Project(Path(root), progress=told).configuration)
    return SifFile(path, path.stat().st_size)


def push(
    sif: StrPath,
    uri: str,
    *,
    plain_http: bool = False,
    auth_file: StrPath | None = None,
    recipe: bool = True,
    root: StrPath = ".",
    progress: Progress | None = None,
) -> PushedSif:
    """Upload a SIF file to a registry, as ``sifmake push`` and ``apptainer push`` do.

    Args:
        sif: The file.
        uri: Destination: ``oras://REGISTRY/NAME[:TAG]``.
        plain_http: Whether to use plain HTTP for the registry.
        auth_file: File with registry credentials in Docker's format, instead of the usual files.
        recipe: Whether to store a recipe with the file, so that later pulls download only what changed.
        root: Folder whose ``sifmake.yaml`` sets registries and limits.
        progress: Gets messages and the progress of the upload.

    Raises:
        UsageError: The URI does not have that form.
        SifError: The file is not a SIF file, or is truncated.
        RegistryError: The registry does not accept the file.
    """
    from sifmake.builder.builder import RegistryAccess, call_settings
    from sifmake.project.project import Project
    from sifmake.reference import parse_reference, parse_uri
    from sifmake.sif.reader import open_sif
    from sifmake.sources.oras import push_sif

    reference, told, file = parse_reference(parse_uri(_checked(uri)).rest), progress or Silent(), Path(sif)
    options = Project(Path(root), progress=told).configuration
    settings = call_settings(options, told, RegistryAccess(plain_http, as_path(auth_file)))
    with open_sif(file):  # never upload a truncated file
        found = push_sif(file, reference, settings, recipe=recipe)
    return PushedSif(f"oras://{reference.familiar}@{found}", found)


def _checked(uri: str) -> str:
    """Return the destination; raise UsageError with the right spelling for anything but ``oras://``."""
    if uri.lower().startswith("oras:"):
        return uri
    head, _, rest = uri.rpartition("://")
    is_place = head in ("", "docker") and "/" in rest and not rest.startswith((".", "/"))
    hint = f"write oras://{rest}" if is_place else "write oras://REGISTRY/NAME:TAG"
    raise UsageError("SIF files can only be pushed to oras://", where=uri, hint=hint)
