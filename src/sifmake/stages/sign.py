"""The stage ``sign``: sign the SIF file with the project's key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.files import fsync_folder, sha256_of
from sifmake.os_errors import naming
from sifmake.project.records import digest_of
from sifmake.project.stage_table import LOCK, SIGNED, TARGET, UNSIGNED, record_pattern
from sifmake.stages.published import find_published
from sifmake.stages.sif import sif_key
from sifmake.stages.stage import Stage

if TYPE_CHECKING:
    from sifmake.project.locks import AnyLock
    from sifmake.project.project import Project
    from sifmake.stages.context import StageContext


def sign_key(project: Project, lock: AnyLock) -> dict[str, Any]:
    """Return everything that the signed SIF file depends on."""
    return {"sif": digest_of(sif_key(project, lock)), "key": lock.build.key}


def _run(context: StageContext) -> dict[str, Any]:
    from sifmake.builder.image_signing import check_key, sign_unsigned
    from sifmake.builder.prebuilt_match import HEADER_MEMBER, header_of
    from sifmake.stages.made_files import frame_of

    project, key = context.project, context.lock.build.key
    unsigned, signed = context.path(UNSIGNED), context.path(SIGNED)
    if key:
        check_key(project, context.lock)
        if known := _link_published(context):
            return known
    built = _ensure_unsigned(context)
    whole = context.seen.is_unchanged(unsigned)
    before = {} if built["objects"] else {HEADER_MEMBER: header_of(unsigned)}
    signer = sign_unsigned(project, unsigned, built["objects"]) if key else "none"
    size, frame = unsigned.stat().st_size, frame_of(unsigned)
    with naming(signed):
        unsigned.replace(signed)
    # A record promises that its file exists, even after a power failure, so sync the file first.
    fsync_folder(signed.parent)
    if whole:
        context.seen.note(signed)
    return {"frame": frame, "signer": signer, "size": size, **before}


def _ensure_unsigned(context: StageContext) -> dict[str, Any]:
    """Return the result of stage sif; a file from another process must have the recorded frame.

    The parts that the signature covers are checked by stage verify, which reads all of them anyway.
    """
    from sifmake.stages.made_files import has_frame

    built = context.ensure("sif", UNSIGNED)
    unsigned = context.path(UNSIGNED)
    if context.seen.is_unchanged(unsigned):
        return built
    if built["objects"]:
        whole = has_frame(unsigned, built)
    elif whole := f"sha256:{sha256_of(unsigned)}" == context.lock.built_from:
        context.seen.note(unsigned)
    return built if whole else context.make_again("sif", unsigned)


def _link_published(context: StageContext) -> dict[str, Any] | None:
    """Reuse the published file if it was built from this lock, because signing again may change the bytes."""
    from sifmake.builder.prebuilt_match import kept_header
    from sifmake.stages.made_files import frame_of

    published = find_published(context)
    if published is None:
        return None
    signed = context.path(SIGNED)
    try:
        signed.hardlink_to(context.path(TARGET))
    except OSError:
        return None
    fsync_folder(signed.parent)
    context.seen.note(signed)
    facts = {"frame": frame_of(signed), "signer": published["signer"], "size": published["size"]}
    return facts | kept_header(published)


STAGE = Stage(
    name="sign",
    doc="sign the SIF",
    inputs=(LOCK, UNSIGNED, record_pattern("sif")),
    key=sign_key,
    run=_run,
    big=(SIGNED,),
    temporary=True,
)
