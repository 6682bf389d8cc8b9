"""Give images back: into OCI layouts, and to registries."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from sifmake.api.common import StrPath, as_path, resolved_folders
from sifmake.errors import BadReferenceError, UsageError
from sifmake.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from typing import Unpack

    from sifmake.builder.builder import RegistryAccess
    from sifmake.builder.built_export import OpenedBuild
    from sifmake.builder.image_export import GivenBack, OpenedImage
    from sifmake.project.project import Project


@dataclass(frozen=True)
class ExportedImage:
    """An image that was given back.

    Attributes:
        reference: Where it is: ``oci:DIR:TAG`` or ``docker://REGISTRY/NAME:TAG``, and ``@`` and its digest.
        digest: Digest of its manifest.
        layers: How many layers it has.
        renewed: How many of them were compressed again. If there are any, their digests and that of the manifest are
            not those of upstream; the config and the DiffIDs always are. 0 for an image that was built here, which has
            no upstream.
    """

    reference: str
    digest: str
    layers: int
    renewed: int


class ExportOptions(TypedDict, total=False):
    """Options of :func:`export` and :func:`push_image`; the defaults are in parentheses.

    Attributes:
        platform: ``OS/ARCH[/VARIANT]`` or ``ARCH[/VARIANT]`` of a URI (this machine's).
        plain_http: Whether to use plain HTTP for registries (no).
        auth_file: File with registry credentials in Docker's format, instead of the usual files.
        root: Folder whose ``sifmake.yaml``, if there is one, sets the store, registries and limits (here).
        allow_files: Folders outside the project that its definitions may read (none).
    """

    platform: str
    plain_http: bool
    auth_file: StrPath | None
    root: StrPath
    allow_files: Iterable[StrPath]


def export(
    image: str,
    target: str,
    *,
    progress: Progress | None = None,
    **options: Unpack[ExportOptions],
) -> ExportedImage:
    """Write an image into an OCI layout, as ``sifmake export`` does: its config and DiffIDs, from packs in the store.

    Args:
        image: A URI (``docker://``, ``oci:``, ...), or the name of an image of the project in ``root`` with a lock.
            Layers whose packs the store lacks are fetched. Of an image that is built from a definition, steps whose
            layers it lacks run; its last layer has the files that sifmake adds.
        target: ``oci:DIR`` or ``oci:DIR:TAG``; other images of an existing layout stay.
        progress: Gets messages.
        options: See :class:`ExportOptions`.

    Raises:
        UsageError: The target is not a layout, or the image has no layers.
        SifmakeError: The image cannot be read.
        OSError: The layout cannot be written.
    """
    from sifmake.places import Place, store_place, telling_places
    from sifmake.reference.local import split_local
    from sifmake.sources.layout_writer import LayoutWriter

    if not target.startswith("oci:") or target == "oci:":
        raise UsageError("not a layout", where=target, hint="write oci:DIR:TAG; to upload, use `sifmake push`")
    place = split_local(target.removeprefix("oci:"))
    if place.digest or place.number is not None:
        raise UsageError("a new image cannot be named by a digest or number", where=target, hint="write oci:DIR:TAG")
    project, access = _project(options, progress), _access(options)
    with (
        _opened(image, options.get("platform", ""), project, access) as opened,
        telling_places(store_place(opened.builder.store.root), Place("the layout", place.path)),
    ):
        writer = LayoutWriter(place.path, place.tag, opened.platform, opened.builder.settings.limits)
        done = opened.give_back(writer)
    return _told(writer.name, done)


def push_image(
    image: str,
    uri: str,
    *,
    progress: Progress | None = None,
    **options: Unpack[ExportOptions],
) -> ExportedImage:
    """Upload an image to a registry, as ``sifmake push IMAGE docker://...`` does.

    Args:
        image: As for :func:`export`.
        uri: Destination: ``docker://REGISTRY/NAME[:TAG]``.
        progress: Gets messages.
        options: See :class:`ExportOptions`.

    Raises:
        UsageError: The URI does not have that form, or the image has no layers.
        RegistryError: The registry does not accept the image.
        SifmakeError: The image cannot be read.
    """
    from sifmake.builder.builder import call_settings
    from sifmake.places import store_place, telling_places
    from sifmake.reference import parse_uri
    from sifmake.sources.registry_writer import RegistryWriter

    destination = parse_uri(uri)
    if destination.transport != "docker" or destination.reference.digest:
        raise UsageError("not a place for an image", where=uri, hint="write docker://REGISTRY/NAME:TAG")
    project, access = _project(options, progress), _access(options)
    settings = call_settings(project.configuration, project.progress, access)
    with (
        _opened(image, options.get("platform", ""), project, access) as opened,
        closing(RegistryWriter(destination.reference, settings)) as writer,
        telling_places(store_place(opened.builder.store.root)),
    ):
        done = opened.give_back(writer)
    return _told(writer.name, done)


def _project(options: ExportOptions, progress: Progress | None) -> Project:
    """Return the project; sections of the host are allowed, because none runs when an image is given back."""
    from sifmake.project.project import Modes, Project

    modes = Modes(allow_files=resolved_folders(options.get("allow_files", ())), allow_host_sections=True)
    return Project(Path(options.get("root", ".")), modes, progress=progress or Silent())


def _access(options: ExportOptions) -> RegistryAccess:
    from sifmake.builder.builder import RegistryAccess

    return RegistryAccess(options.get("plain_http", False), as_path(options.get("auth_file")))


def _opened(
    image: str, platform: str, project: Project, access: RegistryAccess
) -> AbstractContextManager[OpenedImage | OpenedBuild]:
    from sifmake.builder.builder import make_builder
    from sifmake.builder.image_export import open_named
    from sifmake.oci.platform import host_platform, parse_platform
    from sifmake.reference import parse_uri

    if ":" not in image and "/" not in image and project.lock_path(image).exists():
        if platform:
            what = "the platform of an image of the project is that of its lock"
            raise UsageError(what, where=image, hint="leave --platform out")
        return _locked(project, image)
    try:
        uri = parse_uri(image)
    except BadReferenceError as error:
        hint = f"{error.hint}; if it is an image of the project, run `sifmake lock` first"
        raise UsageError(error.what, where=error.where, hint=hint) from None
    builder = make_builder(project.configuration, project.progress, access)
    return open_named(builder, uri, parse_platform(platform) if platform else host_platform())


def _locked(project: Project, name: str) -> AbstractContextManager[OpenedImage | OpenedBuild]:
    """Open an image of the project as its lock describes it.

    Raises:
        UsageError: It is a prebuilt SIF file, which has no layers.
        SifmakeError: The lock cannot be used.
    """
    from sifmake.builder.builder import project_builder
    from sifmake.builder.image_export import open_locked
    from sifmake.project.locks import BuildLock, Lock
    from sifmake.stages.built_images import open_built

    lock = project.lock(name)
    if isinstance(lock, BuildLock):
        return open_built(project, name, lock)
    if isinstance(lock, Lock):
        return open_locked(project_builder(project), lock)
    what = "this image is a prebuilt SIF file, which has no layers that could be given back"
    raise UsageError(what, where=name, hint="push its SIF file to oras://")


def _told(name: str, done: GivenBack) -> ExportedImage:
    return ExportedImage(f"{name}@{done.digest}", done.digest, done.layers, done.renewed)
