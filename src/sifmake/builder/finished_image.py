"""Write the last stage of a build as a file or as a folder."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from sifmake.builder.image_build import ZSTD_WARNING
from sifmake.builder.provenance import BUILD_INPUTS
from sifmake.errors import OutputPathError, TargetExistsError
from sifmake.places import Place
from sifmake.rootfs.gojson import clean, compact
from sifmake.rootfs.inspection import inspection
from sifmake.temporaries import temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sifmake.assembly.image import SifContents, SifSummary
    from sifmake.builder.stage_build import BuiltStage
    from sifmake.progress import Progress
    from sifmake.store import Store

_MARK = ".singularity.d"


def write_stage_sif(
    built: BuiltStage,
    text: bytes,
    target: Path,
    compression: str,
    store: Store,
    progress: Progress,
    inputs: bytes = b"",
) -> SifSummary:
    """Write the unsigned SIF file of a stage; this consumes its tree.

    Args:
        built: The stage.
        text: The definition as recorded in the image.
        target: The file.
        compression: How blocks are compressed, as for :func:`~sifmake.layers.codec.make_codec`.
        store: Keeps data for the next image with the same layers.
        progress: Receives messages.
        inputs: What it was built from, for an object of the file; empty for none.

    Raises:
        SifmakeError: The image does not fit into squashfs or SIF, or a pack is damaged.
    """
    from sifmake.assembly.image import write_sif
    from sifmake.layers.blocks import Workers
    from sifmake.layers.codec import make_codec

    codec = make_codec(compression)
    if codec.format == "zstd":
        progress.warning(ZSTD_WARNING)
    contents = _contents(built, text, inputs, progress)
    task = progress.task(f"writing {target.name}", sum(pack.footer.data_size for pack in built.tree.packs))
    with Workers() as workers:
        summary = write_sif(target, contents, codec, workers, task, store)
    task.finish()
    for warning in summary.warnings:
        progress.warning(warning)
    return summary


def _contents(built: BuiltStage, text: bytes, inputs: bytes, progress: Progress) -> SifContents:
    from sifmake.assembly.image import Document, SifContents
    from sifmake.sif import DataType

    tree = built.tree
    inspected = clean(text.decode("utf-8", "surrogateescape"))
    document, left_out = inspection(tree.tree, tree.read_head, built.labels, inspected)
    for warning in left_out:
        progress.warning(warning)
    before = [
        Document(DataType.DEFINITION, "", text),
        Document(DataType.GENERIC_JSON, "inspect-metadata.json", document),
    ]
    if built.oci_config is not None:
        before.append(Document(DataType.GENERIC_JSON, "oci-config.json", compact(built.oci_config)))
    return SifContents(
        before=before,
        after=[Document(DataType.GENERIC_JSON, BUILD_INPUTS, inputs)] if inputs else [],
        tree=tree.tree,
        files=tree.added(),
        packs=tree.packs,
        architecture=built.architecture,
        mkfs_time=tree.epoch,
    )


def sandbox_place(target: Path) -> Place:
    """Return the sandbox that a user named as a place."""
    return Place("the sandbox", target, "name a folder on another file system")


def check_sandbox_target(target: Path, *, force: bool) -> None:
    """Refuse to replace anything but a sandbox.

    Raises:
        TargetExistsError: The target exists, and ``force`` is not set.
        OutputPathError: The target is not a sandbox.
    """
    if not os.path.lexists(target):
        return
    if not force:
        raise TargetExistsError("build target already exists", where=str(target), hint="use --force to replace it")
    if target.is_symlink() or (target / _MARK).is_symlink() or not (target / _MARK).is_dir():
        what = "this folder is not a sandbox, because it has no folder .singularity.d, and is not replaced"
        raise OutputPathError(what, where=str(target), hint="name another folder")


def write_sandbox(built: BuiltStage, target: Path, progress: Progress, check: Callable[[Path], None]) -> None:
    """Write a stage into a folder next to the target and rename it; then remove the older sandbox.

    Args:
        built: The stage.
        target: The sandbox.
        progress: Receives messages.
        check: Called with the folder before that is renamed; may raise.

    Raises:
        OSError: The sandbox cannot be written; the target is unchanged.
    """
    from sifmake.steps.sandbox import own_rights, write_folder

    folder = target.with_name(temporary_name(target.name))
    folder.mkdir(0o700)
    try:
        left_out = write_folder(built.tree, folder, own_rights())
        check(folder)
        _replace_folder(folder, target)
    except BaseException:
        _remove_folder(folder)
        raise
    for paths, what in (
        (left_out.owners, "have other owners in the image, but belong to you in the folder"),
        (left_out.devices, "are device nodes, which only root can create, and are left out"),
        (left_out.attributes, "have lost extended attributes"),
    ):
        if paths:
            first = paths[0].decode("ascii", "backslashreplace")
            progress.warning(f"{target}: {len(paths)} file(s), first /{first}, {what}")


def _replace_folder(folder: Path, target: Path) -> None:
    old = target.with_name(temporary_name(target.name))
    with suppress(FileNotFoundError):
        target.rename(old)
    folder.rename(target)
    _remove_folder(old)


def _remove_folder(folder: Path) -> None:
    """Remove a folder and its content, whatever their modes; what cannot be removed stays."""
    from sifmake.rootless.removal import empty_folder

    with suppress(OSError):
        empty_folder(str(folder))
        folder.rmdir()
