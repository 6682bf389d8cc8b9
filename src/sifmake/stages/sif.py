"""The stage ``sif``: assemble tree and packs into the unsigned SIF file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.block_compression import block_format, has_fixed_bytes
from sifmake.project.stage_table import LOCK, TREE, UNSIGNED, record_pattern
from sifmake.stages.stage import Stage

if TYPE_CHECKING:
    from sifmake.assembly.image import SifSummary
    from sifmake.project.locks import AnyLock, BuildLock, PrebuiltLock
    from sifmake.project.project import Project
    from sifmake.stages.context import StageContext


def sif_key(_project: Project, lock: AnyLock) -> dict[str, Any]:
    """Return everything that the unsigned SIF file depends on."""
    return {
        "manifest": lock.built_from,
        "name": lock.name,
        "compression": lock.build.compression,
        "labels": lock.build.labels,
        "formats": lock.build.formats,
    }


def _run(context: StageContext) -> dict[str, Any]:
    from sifmake.builder.image_build import ZSTD_WARNING

    if block_format(context.lock.build.compression) == "zstd":
        context.project.progress.warning(ZSTD_WARNING)
    session = context.session
    flattened = session.take_flattened()
    made = _noted(context, session.write_sif(flattened), flattened.digest)
    return {**made, **session.foreign()}


def _run_build(context: StageContext, _lock: BuildLock) -> dict[str, Any]:
    session = context.definition_session
    tree = session.tree_digest()
    made = _noted(context, session.write_sif(), tree)
    return {**made, **session.foreign()}


def _noted(context: StageContext, summary: SifSummary, tree: str) -> dict[str, Any]:
    """Return the result of the stage, and remember the file."""
    from sifmake.stages.made_files import frame_of

    unsigned = context.path(UNSIGNED)
    context.seen.note(unsigned)
    return {
        **_encoder(context.lock.build.compression),
        "architecture": summary.architecture,
        "frame": frame_of(unsigned),
        "objects": {str(number): f"sha256:{digest}" for number, digest in summary.objects.items()},
        "size": summary.size,
        "tree": tree,
    }


def _encoder(compression: str) -> dict[str, str]:
    """Return what explains other bytes from the same lock; nothing if the compression gives the same everywhere."""
    if has_fixed_bytes(compression):
        return {}
    from sifmake.layers.codec import make_codec

    return {"encoder": make_codec(compression).encoder}


def _run_prebuilt(context: StageContext, lock: PrebuiltLock) -> dict[str, Any]:
    """Copy the file to the path of the unsigned SIF file."""
    from sifmake.sif import open_sif
    from sifmake.sif.format import arch_name
    from sifmake.sif.frame import frame_digest
    from sifmake.stages.prebuilt_images import copy_locked

    unsigned = context.path(UNSIGNED)
    copy_locked(context.project, context.image, lock, unsigned)
    with open_sif(unsigned) as sif:
        architecture, frame = arch_name(sif.header.arch), frame_digest(sif)
    return {
        "architecture": architecture,
        "frame": frame,
        "objects": {},
        "size": unsigned.stat().st_size,
        "tree": lock.file,
    }


STAGE = Stage(
    name="sif",
    doc="assemble the unsigned SIF",
    inputs=(LOCK, TREE, record_pattern("flatten")),
    key=sif_key,
    run=_run,
    run_prebuilt=_run_prebuilt,
    run_build=_run_build,
    big=(UNSIGNED,),
    temporary=True,
)
