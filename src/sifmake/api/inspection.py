"""Read SIF files: open, inspect, digest, compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.api.common import StrPath, as_path
from sifmake.errors import SifError, UsageError
from sifmake.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import AbstractContextManager

    from sifmake.compare.comparison import Comparison
    from sifmake.sif.reader import Sif

_METADATA = "inspect-metadata.json"


@dataclass(frozen=True, repr=False)
class Inspection:
    """Labels, scripts and definition of a SIF file.

    Attributes:
        attributes: With the names of ``apptainer inspect --json``; attributes that the file lacks are missing.
    """

    attributes: dict[str, Any]

    def __repr__(self) -> str:
        return f"Inspection({', '.join(self.attributes)})"

    @property
    def labels(self) -> dict[str, str]:
        """The labels."""
        return dict(self.attributes.get("labels", {}))

    @property
    def environment(self) -> dict[str, str]:
        """The scripts that set the environment, by path in the image."""
        return dict(self.attributes.get("environment", {}))

    @property
    def definition(self) -> str:
        """The definition file of the image; empty if there is none."""
        return str(self.attributes.get("deffile", ""))

    @property
    def runscript(self) -> str:
        """The script that ``run`` runs; empty if there is none."""
        return str(self.attributes.get("runscript", ""))

    @property
    def startscript(self) -> str:
        """The script that an instance runs; empty if there is none."""
        return str(self.attributes.get("startscript", ""))

    @property
    def test(self) -> str:
        """The script that ``test`` runs; empty if there is none."""
        return str(self.attributes.get("test", ""))

    @property
    def help(self) -> str:
        """The help text of the runscript; empty if there is none."""
        return str(self.attributes.get("helpfile", ""))

    @property
    def apps(self) -> dict[str, dict[str, Any]]:
        """The SCIF apps by name, each with its attributes."""
        return dict(self.attributes.get("apps", {}))


def open_sif(sif: StrPath) -> AbstractContextManager[Sif]:
    """Open a SIF file to read its parts, as ``sifmake sif`` does.

    For example, to list its objects and read one::

        with sifmake.open_sif("alpine.sif") as sif:
            print(sif.header, sif.objects)
            definition = sif.read(sif.get(1))

    Args:
        sif: The file; it is closed at the end of the block.

    Raises:
        SifError: It is not a SIF file, or its header or table is damaged.
        OSError: It cannot be read.
    """
    from sifmake.sif.reader import open_sif as open_checked

    return open_checked(Path(sif))


def inspect(sif: StrPath, *, only: Collection[str] = ()) -> Inspection:
    """Return labels, scripts and definition of a SIF file, as ``sifmake inspect`` shows them.

    Args:
        sif: The file, or the folder of a sandbox.
        only: Names of the attributes to return, such as ``labels``; by default all. For ``deffile`` alone, the file
            need not have been made by sifmake, because other tools store the definition in an object of the file.

    Raises:
        SifError: It is not a SIF file or sandbox, or has no such attributes.
    """
    if Path(sif).is_dir():
        from sifmake.rootfs.sandbox_report import inspect_sandbox

        attributes = inspect_sandbox(Path(sif))
    else:
        with open_sif(sif) as opened:
            try:
                attributes = _attributes(opened, only)
            except SifError as error:
                raise error.within(str(Path(sif))) from None
    return Inspection({name: value for name, value in attributes.items() if not only or name in only})


def inspect_image(
    uri: str,
    *,
    platform: str = "",
    plain_http: bool = False,
    auth_file: StrPath | None = None,
    root: StrPath = ".",
    progress: Progress | None = None,
) -> Inspection:
    """Preview the attributes of an image's SIF file from manifest and config, without downloading a layer.

    Attributes that come from files in the layers are missing: help text, apps, scripts of an image that was a SIF file
    before.

    Args:
        uri: The image, as for :func:`pull`, but not a finished SIF file.
        platform: ``OS/ARCH[/VARIANT]`` or ``ARCH[/VARIANT]``; empty for this machine's.
        plain_http: Whether to use plain HTTP for the registry.
        auth_file: File with registry credentials in Docker's format, instead of the usual files.
        root: Folder whose ``sifmake.yaml`` sets the store, registries and limits.
        progress: Gets messages.

    Raises:
        SourceError: The image cannot be read, or the URI names a SIF file.
    """
    from sifmake.builder.builder import RegistryAccess, make_builder
    from sifmake.builder.image_preview import preview
    from sifmake.oci.platform import host_platform, parse_platform
    from sifmake.project.project import Project
    from sifmake.reference import parse_uri

    told = progress or Silent()
    options = Project(Path(root), progress=told).configuration
    builder = make_builder(options, told, RegistryAccess(plain_http, as_path(auth_file)))
    wanted = parse_platform(platform) if platform else host_platform()
    return Inspection(preview(builder, parse_uri(uri), wanted))


def _attributes(sif: Sif, wanted: Collection[str]) -> dict[str, Any]:
    from sifmake.rootfs.report import parse_inspection
    from sifmake.sif.format import DataType

    objects = sif.find(DataType.GENERIC_JSON, name=_METADATA)
    if objects:
        return parse_inspection(sif.read(objects[0]))
    definitions = sif.find(DataType.DEFINITION)
    if definitions and set(wanted) == {"deffile"}:
        return {"deffile": sif.read(definitions[0]).decode(errors="replace").rstrip("\n")}
    raise SifError(
        f"the file has no object {_METADATA}, and its file system is not searched",
        hint="run `sifmake sif list` to see its objects"
        + (", `sifmake inspect -d` for its definition" if definitions else ""),
    )


def digest(sif: StrPath, *, root: StrPath = ".", progress: Progress | None = None) -> str:
    """Return one digest of the content of an image, as ``sifmake sif digest`` prints it.

    It covers names, types, modes, owners, bytes and extended attributes of the files. It does not cover times,
    compression, labels, signatures, or when and from what the image was built.

    Args:
        sif: The file.
        root: Folder whose ``sifmake.yaml`` sets limits.
        progress: Gets a warning if the file has further file systems, which are left out.

    Raises:
        SifError: It is not a SIF file.
        SquashfsError: Its file system is damaged or exceeds a limit.
    """
    from sifmake.compare.content_digest import content_digest
    from sifmake.project.configuration import limits_of
    from sifmake.sif.format import DataType

    path = Path(sif)
    found = content_digest(path, limits_of(Path(root)))
    with open_sif(path) as opened:
        if len(opened.find(DataType.PARTITION)) > 1:
            what = "the file has further file systems, for example a writable overlay, which the digest leaves out"
            (progress or Silent()).warning(f"{path}: {what}")
    return found


def diff(old: StrPath, new: StrPath, *, root: StrPath = ".") -> Comparison:
    """Return what changed between two SIF files or two lock files, as ``sifmake diff`` shows it.

    Two locks of what steps gave are compared step by step, and file by file if the store has the lists of files.

    Args:
        old: SIF file, lock file (``.yaml``), or lock of steps (``.steps.yaml``).
        new: Another file of the same kind.
        root: Folder whose ``sifmake.yaml`` sets limits and the store.

    Returns:
        A comparison, which is false if nothing changed.

    Raises:
        UsageError: They are of different kinds.
        SifmakeError: One of them is damaged or exceeds a limit.
    """
    from sifmake.compare.comparison import compare, compare_locks_of_steps, contents_of_lock
    from sifmake.compare.contents import open_contents
    from sifmake.project.configuration import limits_of
    from sifmake.project.lock_file import read_lock

    paths = [Path(old), Path(new)]
    locks = [path.suffix in {".yaml", ".yml"} for path in paths]
    steps = [path.suffixes[-2:] == [".steps", ".yaml"] for path in paths]
    if all(steps):
        from sifmake.project.project import Project

        project = Project(Path(root))
        return compare_locks_of_steps(paths[0], paths[1], project.store.blobs.get, project.configuration.limits)
    if any(steps):
        what, hint = "a lock of steps can be compared only with another", "the names of both end in .steps.yaml"
        raise UsageError(what, where=f"{paths[0]}, {paths[1]}", hint=hint)
    if all(locks):
        return compare(*(contents_of_lock(read_lock(path)) for path in paths))
    if any(locks):
        raise UsageError("a lock file and a SIF file cannot be compared", where=f"{paths[0]}, {paths[1]}")
    limits = limits_of(Path(root))
    with open_contents(paths[0], limits) as before, open_contents(paths[1], limits) as after:
        return compare(before, after)
