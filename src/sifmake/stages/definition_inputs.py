"""What an image that is built depends on: its definition, its bases, and the files that it copies.

Anyone who can propose a change to a project can edit its definitions, so these read only below the project's folder,
and in folders that the user allows.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from sifmake.builder.build_bases import BUNDLE, LOCAL, SCRATCH
from sifmake.builder.build_spec import read_spec
from sifmake.builder.host_sections import ALLOW_HOST
from sifmake.builder.known_digests import known_digest
from sifmake.builder.oci_bundle import read_bundle
from sifmake.definition.host_copying import describe_sources, sources_of
from sifmake.definition.host_folder import HostFolder
from sifmake.definition.problems import DefinitionPlace
from sifmake.errors import ConfigError, SourceError, UsageError, describe_os_error
from sifmake.files import sha256_of, sha256_of_open
from sifmake.json_text import without_surrogates
from sifmake.project.definition_settings import path_of_source
from sifmake.project.images import find_image
from sifmake.project.locks import LockedFiles
from sifmake.project.project import ALLOW_FILES
from sifmake.project.records import digest_of
from sifmake.project.yaml_file import nearest
from sifmake.reference.local import split_local
from sifmake.steps.tree_streams import locked_folder_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.definition.model import Base, CopyLine, Definition
    from sifmake.project.images import ImageSettings
    from sifmake.project.project import Project

_HOST_SECTIONS = ("pre", "setup")
_LOCAL_AGENTS = ("oci", "oci-archive", "docker-archive")


@dataclass(frozen=True)
class ProjectBase:
    """A base of an image of a project.

    Attributes:
        base: In the definition.
        name: As in the definition, with escapes for bytes that are not UTF-8; ``from:`` of the image for a root file
            system.
        path: The file or folder on this machine; None if the base is somewhere else.
        image: The image of the project whose finished file it is; empty if it is none.
    """

    base: Base
    name: str
    path: Path | None = None
    image: str = ""


class DefinitionInputs:
    """The definition of one image and what it reads.

    Attributes:
        definition: The definition after substitution; for a root file system, one that only names it.
        folder: The folder from which files are copied.
    """

    def __init__(self, project: Project, image: ImageSettings) -> None:
        """Read the definition.

        Raises:
            DefinitionError: It is not valid.
            ConfigError: A build argument is not used, or a section runs on this machine and is not allowed.
            SourceError: It is outside the project's folder.
        """
        self._project = project
        self._image = image
        written = _written_folders(project)
        self.folder = HostFolder(project.root.absolute(), allowed=allowed_folders(project), written=written)
        with _naming(image.where):
            self.definition = self._read()
        self._stamps: dict[Path, tuple[int, ...]] = {}

    def _read(self) -> Definition:
        project, image = self._project, self._image
        path = path_of_source(image.source, project.root)
        if path is None or image.definition is None:
            raise TypeError(image.source)
        _check_inside(project, path, image.where)
        word = f"bundle:{path}" if image.source.rest.startswith("bundle:") else _with_folder(path)
        try:
            found = read_spec(word, image.definition.arguments, project.configuration.limits).definition
        except UsageError as error:
            raise error.within(image.where) from None
        if found.unused:
            what = f"no {{{{ }}}} of {image.source.given} uses the build argument {found.unused[0]}"
            raise ConfigError(what, where=image.where, hint="check the name, or leave it out")
        for stage in found.stages:
            for name in _HOST_SECTIONS:
                section = stage.sections.get(name)
                if section and not project.modes.allow_host_sections:
                    what = f"%{name} runs commands on this machine, outside the image"
                    hint = f"read it, then allow it with {ALLOW_HOST}=1, or do it before and copy the result"
                    raise ConfigError(what, where=f"{found.source}:{section.line}", hint=hint)
        return found

    @property
    def host(self) -> tuple[str, ...]:
        """The names of the sections that run on this machine."""
        sections = {name for stage in self.definition.stages for name in stage.sections}
        return tuple(name for name in _HOST_SECTIONS if name in sections)

    def bases(self) -> list[ProjectBase]:
        """Return the bases of all stages except ``scratch``, each once.

        Raises:
            SourceError: One is outside the project's folder.
        """
        found = {}
        for stage in self.definition.stages:
            base = stage.base
            if base.agent != SCRATCH and base.uri not in found:
                with _naming(f"{self.definition.source}:{base.line}"):
                    found[base.uri] = self._located(base)
        return list(found.values())

    def _located(self, base: Base) -> ProjectBase:
        project, where = self._project, f"{self.definition.source}:{base.line}"
        if not base.line:  # a root file system, already below the project's folder
            return ProjectBase(base, self._image.source.given, Path(base.reference))
        if base.agent == LOCAL:
            path, shown = project.root / base.reference, without_surrogates(base.reference)
            if name := _image_of_target(project, base.reference):
                return ProjectBase(base, shown, path, name)
            _check_inside(project, path, where)
            _check_there(project, path, where)
            return ProjectBase(base, shown, path)
        if base.agent in _LOCAL_AGENTS:
            place = split_local(str(project.root / base.reference)).path
            for path in (place, *_links_of_layout(place)):
                _check_inside(project, path, where)
        return ProjectBase(base, without_surrogates(base.uri))

    def files(self) -> tuple[LockedFiles, ...]:
        """Return what each line of ``%files`` and ``%appfiles`` copies from the project; this reads all sources.

        Nothing if there is a ``%pre``, which runs first and may make the files.

        Raises:
            DefinitionError: A source is missing, not readable, or outside the project's folder.
            SourceError: One changed while it was read, or its content cannot be read.
        """
        if "pre" in self.host:
            return ()
        return tuple(self._described(line) for stage in self.definition.stages for line in sources_of(stage))

    def _described(self, line: CopyLine) -> LockedFiles:
        source, limits = self.definition.source, self._project.configuration.limits
        try:
            digest = describe_sources(line, self.folder, DefinitionPlace(source), limits)
        except SourceError as error:
            raise error.within(f"{source}:{line.line}") from None
        return LockedFiles(without_surrogates(line.source), f"sha256:{digest}")

    def tree_digest(self, base: ProjectBase) -> str:
        """Return the digest of a base on this machine: of a file, of the files of a folder, or of a bundle.

        Raises:
            SourceError: The file or folder does not exist.
        """
        path = base.path or Path(base.base.reference)
        self._stamps[path] = _stamp_of(path)
        if base.base.agent == BUNDLE:
            _check_inside(self._project, path / "config.json", base.name)
            root = read_bundle(path, self._project.configuration.limits).root
            _check_inside(self._project, root, base.name)
            _check_written(self._project, root, base.name)
            return bundle_digest(path, _folder_digest(root))
        if path.is_dir():
            _check_written(self._project, path, base.name)
            return _folder_digest(path)
        if path.exists() and not path.is_file():  # a pipe may have no end
            raise SourceError("this is neither a file nor a folder", where=str(path), hint="copy it to a file")
        try:
            with path.open("rb") as file:
                fd = file.fileno()
                return known_digest(self._project.store, fd, "file", lambda: f"sha256:{sha256_of_open(fd)}")
        except FileNotFoundError:
            raise SourceError("the file or folder does not exist", where=str(path), hint="check the path") from None

    def has_changed(self, path: Path) -> bool:
        """Tell whether somebody has written to a file, or replaced it, since its digest was computed."""
        return self._stamps.get(path) != _stamp_of(path)

    @property
    def text_digest(self) -> str:
        """The digest of the definition after substitution."""
        return f"sha256:{hashlib.sha256(self.definition.text).hexdigest()}"


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Turn an error of the system into one with its place: a file that cannot be read fails its image alone."""
    try:
        yield
    except OSError as error:
        raise SourceError(describe_os_error(error), where=where) from None


def _with_folder(path: Path) -> str:
    """Return a path that cannot be mistaken for the URI of an image."""
    return str(path) if path.is_absolute() else os.path.join(".", path)  # noqa: PTH118 - pathlib drops the dot


def read_inputs(project: Project, image: ImageSettings) -> DefinitionInputs:
    """Return the definition of an image and what it reads; see :class:`DefinitionInputs`."""
    return DefinitionInputs(project, image)


def allowed_folders(project: Project) -> tuple[Path, ...]:
    """Return the folders that definitions of a project may read: its own, and those that the user allows."""
    return (project.root.resolve(), *project.modes.allow_files)


def _check_inside(project: Project, path: Path, where: str) -> None:
    """Refuse a file or folder outside the project.

    Raises:
        SourceError: It is outside, after all links are resolved, and the user has not allowed its folder.
    """
    real = path.resolve()
    if not any(real.is_relative_to(folder) for folder in allowed_folders(project)):
        hint = f"move it into the project, or allow its folder: {ALLOW_FILES}={quote(str(real.parent))}"
        raise SourceError(f"{path} is outside the project's folder: it is {real}", where=where, hint=hint)


def _links_of_layout(folder: Path) -> Iterator[Path]:
    """Yield what may be a link in an OCI layout: a file of it could be one of another folder."""
    if not folder.is_dir():
        return
    yield from (folder / "index.json", folder / "oci-layout", folder / "blobs")
    for algorithm in (folder / "blobs").glob("*"):
        yield algorithm
        with suppress(NotADirectoryError), os.scandir(algorithm) as found:
            yield from (algorithm / blob.name for blob in found if blob.is_symlink())


def _written_folders(project: Project) -> tuple[Path, ...]:
    """Return the folders to which builds of a project write: a file in them is not an input."""
    root = project.root.resolve()
    return tuple((root / name).resolve() for name in ("config/locks", "images", "results"))


def _check_written(project: Project, folder: Path, where: str) -> None:
    """Refuse a root file system to which builds write, because no lock would fit it.

    Raises:
        SourceError: Builds write to it.
    """
    real = folder.resolve()
    for written in _written_folders(project):
        if written.is_relative_to(real):
            what = f"the folder contains what builds write, in {written}, so no lock would fit it"
            raise SourceError(what, where=where, hint="put the root file system into a folder of its own")


def _check_there(project: Project, path: Path, where: str) -> None:
    """Refuse a base that is missing.

    Raises:
        SourceError: The file or folder does not exist; for the file of an image, the hint names the nearest one.
    """
    if not path.exists():
        target = path.suffix == ".sif" and path.parent.name == "images"
        hint = nearest(path.stem, list(project.images)) if target else "check the path"
        what = "no image of the project has this file" if target else "the file or folder does not exist"
        raise SourceError(what, where=f"{where}: {path}", hint=hint)


def _image_of_target(project: Project, path: str) -> str:
    """Return the image of the project whose finished file is at a path; empty if there is none."""
    folder = os.path.abspath(project.root)  # noqa: PTH100 - links stay: the target is named, not what it leads to
    relative = os.path.relpath(os.path.join(folder, path), folder)  # noqa: PTH118
    name = relative.removeprefix("images/").removesuffix(".sif")
    return name if relative == f"images/{name}.sif" and name in project.images else ""


def base_images(project: Project, name: str) -> tuple[str, ...]:
    """Return the images of the project from which an image is built, each once.

    Raises:
        SifmakeError: The definition cannot be read.
    """
    image = find_image(project.images, name)
    if image.definition is None:
        return ()
    return tuple(base.image for base in read_inputs(project, image).bases() if base.image)


def check_order(project: Project, image: ImageSettings, base: str) -> None:
    """Refuse an image that is built from itself, perhaps through others.

    Raises:
        ConfigError: It is.
    """
    waiting, seen = [base], set[str]()
    while waiting:
        name = waiting.pop()
        if name == image.name:
            raise ConfigError(f"the image {name} is built from itself, through {base}", where=image.where)
        if name not in seen:
            seen.add(name)
            waiting += base_images(project, name)


def _stamp_of(path: Path) -> tuple[int, ...]:
    """Return what changes if somebody writes to a file; nothing if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def bundle_digest(folder: Path, root: str) -> str:
    """Return the digest of a bundle, from that of its root file system."""
    return digest_of([sha256_of(folder / "config.json"), root])


def _folder_digest(folder: Path) -> str:
    total = hashlib.sha256()
    for piece in locked_folder_stream(folder):
        total.update(piece)
    return f"sha256:{total.hexdigest()}"
