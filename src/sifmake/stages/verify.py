"""The stage ``verify``: verify the signed SIF file with the trusted keys, and compare it with its lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.errors import SifError, SigningError
from sifmake.files import sha256_of
from sifmake.project.records import digest_of, read_record
from sifmake.project.stage_table import LOCK, SIGNED, TARGET, record_pattern
from sifmake.stages.published import find_published
from sifmake.stages.sign import sign_key
from sifmake.stages.stage import Stage

if TYPE_CHECKING:
    from sifmake.project.locks import AnyLock
    from sifmake.project.project import Project
    from sifmake.stages.context import StageContext


def _key(project: Project, lock: AnyLock) -> dict[str, Any]:
    return {"signed": digest_of(sign_key(project, lock)), "trusted": project.trust_digest}


def _run(context: StageContext) -> dict[str, Any]:
    from sifmake.builder.image_signing import header_before, verify_signed

    project, lock, signed = context.project, context.lock, context.path(SIGNED)
    if find_published(context):
        return verify_signed(project, context.path(TARGET), lock, header_before(project, context.image))
    made = context.ensure("sign", SIGNED)
    if not _is_whole(context, made, thorough=not lock.build.key):
        context.make_again("sign", signed)
    try:
        result = verify_signed(project, signed, lock, header_before(project, context.image))
    except (SigningError, SifError):
        if _is_whole(context, made, thorough=True):
            raise
        context.make_again("sign", signed)
        result = verify_signed(project, signed, lock, header_before(project, context.image))
    context.seen.note(signed)
    return result


def _is_whole(context: StageContext, made: dict[str, Any], *, thorough: bool) -> bool:
    """Tell whether the signed file is the one that stages sif and sign made.

    Args:
        context: The image.
        made: The result of stage sign.
        thorough: Whether to read all data; if not, the parts that the signature covers are left to its verification.
    """
    from sifmake.stages.made_files import has_frame, has_objects

    signed = context.path(SIGNED)
    if context.seen.is_unchanged(signed):
        return True
    record = read_record(context.project.record("sif", context.image))
    if record is None or not has_frame(signed, made):
        return False
    if not thorough:
        return True
    objects = record["result"]["objects"]
    return has_objects(signed, objects) if objects else f"sha256:{sha256_of(signed)}" == context.lock.built_from


STAGE = Stage(
    name="verify",
    doc="verify the signed SIF with the trusted keys",
    inputs=(LOCK, SIGNED, record_pattern("sign")),
    key=_key,
    run=_run,
)
