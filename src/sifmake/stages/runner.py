"""The stages' work: from a lock and the store to outputs and a record."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sifmake.builder.prebuilt_match import HEADER_MEMBER, header_of, kept_header
from sifmake.errors import (
    FlattenError,
    LockError,
    PackDamagedError,
    SifError,
    SifmakeError,
    SigningError,
    SquashfsError,
)
from sifmake.files import fsync_folder, make_folders, sha256_of
from sifmake.project.records import read_record, write_record
from sifmake.project.stage_table import SIGNED, TARGET, TREE, UNSIGNED, ZSTD_WARNING
from sifmake.reference.uri import is_sif_uri
from sifmake.stages.freshness import renew, stage_key, why_stale
from sifmake.stages.made_files import Seen, frame_of, has_frame, has_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sifmake.project.lock_file import Lock
    from sifmake.project.project import Project
    from sifmake.stages.build_session import BuildSession


class Runner:
    """Runs stages of a project one after another; the last image's packs and tree stay at hand.

    Attributes:
        project: The project.
        seen: The big files that are known to be whole.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.seen = Seen()
        self._bench: BuildSession | None = None

    def run(self, stage: str, image: str, *, force: bool = False) -> bool:
        """Run one stage unless its record is up to date; return whether there was work.

        Args:
            stage: One of the declared names.
            image: Name of a configured image.
            force: Whether to run in any case.

        Raises:
            SifmakeError: The stage failed; outputs are as they were.
        """
        try:
            with self.project.store.lock(f"image {self.project.path(TARGET, image).absolute()}"):
                return self._run(stage, image, force=force)
        except SifmakeError as error:
            raise error.within(image) from None

    def close(self) -> None:
        """Give back what is held open."""
        if self._bench is not None:
            self._bench.close()
            self._bench = None

    def _run(self, stage: str, image: str, *, force: bool) -> bool:
        lock = self.project.lock(image)
        stale = force or bool(why_stale(self.project, stage, image, lock))
        if stale:
            _check_formats(lock, stage)
            self._make(stage, image, lock)
        renew(self.project, stage, image)
        return stale

    def _make(self, stage: str, image: str, lock: Lock) -> None:
        """Make a stage's outputs; a pack that turns out to be damaged is made anew in the same run."""
        try:
            _make(self, stage, image, lock)
        except (PackDamagedError, FlattenError, SquashfsError) as error:
            if not self.bench(image, lock).drop_damaged(error):
                raise
            self.project.progress.warning(str(error))
            self.close()
            _make(self, stage, image, lock)

    def bench(self, image: str, lock: Lock) -> BuildSession:
        """Return the workbench of an image."""
        from sifmake.stages.build_session import BuildSession

        if self._bench is None or (self._bench.name, self._bench.lock) != (image, lock):
            self.close()
            self._bench = BuildSession(self.project, image, lock)
        return self._bench


def _check_formats(lock: Lock, stage: str) -> None:
    if stage not in lock.build.formats:
        return
    from sifmake.formats import format_versions

    mine, locked = format_versions()[stage], lock.build.formats[stage]
    if mine != locked:
        what = f"the lock asks for format {locked} of stage {stage}, this sifmake makes format {mine}"
        raise LockError(what, hint="run sifmake lock --offline")


def _make(runner: Runner, stage: str, image: str, lock: Lock) -> dict[str, Any]:
    """Run a stage's work, then write its record: a record stands for finished outputs."""
    result = _work(runner, stage, image, lock)
    key = stage_key(runner.project, stage, lock)
    write_record(runner.project.record(stage, image), stage, key, result)
    return result


def _work(runner: Runner, stage: str, image: str, lock: Lock) -> dict[str, Any]:
    if is_sif_uri(lock.source):
        from sifmake.stages import prebuilt_images

        if stage in prebuilt_images.WORK:
            return prebuilt_images.WORK[stage](runner.project, image, lock)
    return _WORK[stage](runner, image, lock)


def _pull(runner: Runner, image: str, lock: Lock) -> dict[str, Any]:
    bench = runner.bench(image, lock)
    held = bench.fetch(runner.project.progress)
    diff_ids = [layer.diff_id for layer in bench.image.layers]
    return {"manifest": lock.manifest, "diff_ids": diff_ids, "packs": len(held)}


def _flatten(runner: Runner, image: str, lock: Lock) -> dict[str, Any]:
    flattened = runner.bench(image, lock).flatten()
    flattened.save(runner.project.path(TREE, image))
    return {"tree": flattened.digest, "entries": flattened.entries}


def _sif(runner: Runner, image: str, lock: Lock) -> dict[str, Any]:
    if lock.build.compression == "zstd":
        runner.project.progress.warning(ZSTD_WARNING)
    bench = runner.bench(image, lock)
    flattened = bench.take_flattened()
    summary = bench.write_sif(flattened)
    unsigned = runner.project.path(UNSIGNED, image)
    runner.seen.note(unsigned)
    return {
        "architecture": summary.architecture,
        "frame": frame_of(unsigned),
        "objects": {str(number): f"sha256:{digest}" for number, digest in summary.objects.items()},
        "size": summary.size,
        "tree": flattened.digest,
    }


def _sign(runner: Runner, image: str, lock: Lock) -> dict[str, Any]:
    from sifmake.builder.image_signing import check_key, sign_unsigned

    unsigned, signed = runner.project.path(UNSIGNED, image), runner.project.path(SIGNED, image)
    if lock.build.key:
        check_key(runner.project, lock)
        if known := _link_finished(runner, image, lock):
            return known
    built = _ensure_unsigned(runner, image, lock)
    whole = runner.seen.is_unchanged(unsigned)
    before = {} if built["objects"] else {HEADER_MEMBER: header_of(unsigned)}
    signer = sign_unsigned(runner.project, unsigned, built["objects"]) if lock.build.key else "none"
    size, frame = unsigned.stat().st_size, frame_of(unsigned)
    unsigned.replace(signed)
    # A record says that its file is there, also after a power failure.
    fsync_folder(signed.parent)
    if whole:
        runner.seen.note(signed)
    return {"frame": frame, "signer": signer, "size": size, **before}


def _ensure_unsigned(runner: Runner, image: str, lock: Lock) -> dict[str, Any]:
    """Return the result of the stage sif; a file that another process left must have the frame that was made.

    What a signature covers is left to the stage verify, which reads it all in any case.
    """
    built = _ensure(runner, "sif", UNSIGNED, image, lock)
    unsigned = runner.project.path(UNSIGNED, image)
    if runner.seen.is_unchanged(unsigned):
        return built
    if built["objects"]:
        whole = has_frame(unsigned, built)
    elif whole := f"sha256:{sha256_of(unsigned)}" == lock.manifest:
        runner.seen.note(unsigned)
    return built if whole else _make_again(runner, "sif", unsigned, image, lock)


def _make_again(runner: Runner, stage: str, path: Path, image: str, lock: Lock) -> dict[str, Any]:
    """Remove a big file that is damaged and make it again, with what it was made of if that is gone."""
    runner.project.progress.warning(f"{path} was damaged after it was made; it is made again")
    path.unlink(missing_ok=True)
    return _make(runner, stage, image, lock)


def _link_finished(runner: Runner, image: str, lock: Lock) -> dict[str, Any] | None:
    """Let the finished file be the signed one where it is that of this lock: a signature may differ each time."""
    finished = _finished(runner, image, lock)
    if finished is None:
        return None
    signed = runner.project.path(SIGNED, image)
    try:
        signed.hardlink_to(runner.project.path(TARGET, image))
    except OSError:
        return None
    fsync_folder(signed.parent)
    runner.seen.note(signed)
    return {"frame": frame_of(signed), "signer": finished["signer"], "size": finished["size"], **kept_header(finished)}


def _finished(runner: Runner, image: str, lock: Lock) -> dict[str, Any] | None:
    """Return what was published for this lock and is still there, byte for byte; None where it is not."""
    project = runner.project
    record = read_record(project.record("publish", image))
    if record is None or why_stale(project, "publish", image, lock):
        return None
    result: dict[str, Any] = record["result"]
    return result if f"sha256:{sha256_of(project.path(TARGET, image))}" == result["sha256"] else None


def _verify(runner: Runner, image: str, lock: Lock) -> dict[str, Any]:
    from sifmake.builder.image_signing import header_before, verify_signed

    project, signed = runner.project, runner.project.path(SIGNED, image)
    if _finished(runner, image, lock):
        return verify_signed(project, project.path(TARGET, image), lock, header_before(project, image))
    made = _ensure(runner, "sign", SIGNED, image, lock)
    if not _is_whole(runner, image, lock, made, thorough=not lock.build.key):
        _make_again(runner, "sign", signed, image, lock)
    try:
        result = verify_signed(project, signed, lock, header_before(project, image))
    except (SigningError, SifError):
        if _is_whole(runner, image, lock, made, thorough=True):
            raise
        _make_again(runner, "sign", signed, image, lock)
        result = verify_signed(project, signed, lock, header_before(project, image))
    runner.seen.note(signed)
    return result


def _is_whole(runner: Runner, image: str, lock: Lock, made: dict[str, Any], *, thorough: bool) -> bool:
    """Tell whether the signed file is as the stages sif and sign made it.

    Args:
        runner: Has the project.
        image: The image's name.
        lock: Its lock.
        made: The result of the stage sign.
        thorough: Whether all data are read; else what a signature covers is left to it.
    """
    signed = runner.project.path(SIGNED, image)
    if runner.seen.is_unchanged(signed):
        return True
    record = read_record(runner.project.record("sif", image))
    if record is None or not has_frame(signed, made):
        return False
    if not thorough:
        return True
    objects = record["result"]["objects"]
    return has_objects(signed, objects) if objects else f"sha256:{sha256_of(signed)}" == lock.manifest


def _publish(runner: Runner, image: str, lock: Lock) -> dict[str, Any]:
    project = runner.project
    signed_by = _known(runner, "sign", SIGNED, image, lock)
    if signed_by is None:
        signed_by = _make(runner, "sign", image, lock)
        verified = _make(runner, "verify", image, lock)
    else:
        verified = _ensure(runner, "verify", SIGNED, image, lock)
    target, signed = project.path(TARGET, image), project.path(SIGNED, image)
    if lock.build.key and not runner.seen.is_unchanged(signed):
        # Whoever can put another file here can change the record that says that it was verified.
        verified = _make(runner, "verify", image, lock)
        signed_by = _ensure(runner, "sign", SIGNED, image, lock)
    elif not runner.seen.is_unchanged(signed) and f"sha256:{sha256_of(signed)}" != verified["sha256"]:
        signed_by = _make_again(runner, "sign", signed, image, lock)
        verified = _make(runner, "verify", image, lock)
    make_folders(target.parent)
    signed.replace(target)
    signed.unlink(missing_ok=True)  # of two names of one file rename(2) leaves both
    fsync_folder(target.parent)
    project.path(TREE, image).unlink(missing_ok=True)
    sizes = {"sha256": verified["sha256"], "signer": signed_by["signer"], "size": verified["size"]}
    return sizes | kept_header(signed_by)


_WORK: dict[str, Callable[[Runner, str, Lock], dict[str, Any]]] = {
    "pull": _pull,
    "flatten": _flatten,
    "sif": _sif,
    "sign": _sign,
    "verify": _verify,
    "publish": _publish,
}


def _ensure(runner: Runner, stage: str, pattern: str, image: str, lock: Lock) -> dict[str, Any]:
    """Return the result of an earlier stage and see to it that its big output is there, made again if need be."""
    known = _known(runner, stage, pattern, image, lock)
    return _make(runner, stage, image, lock) if known is None else known


def _known(runner: Runner, stage: str, pattern: str, image: str, lock: Lock) -> dict[str, Any] | None:
    """Return the result of an earlier stage; None where it or its big output is missing or stale."""
    record = read_record(runner.project.record(stage, image))
    if record is None or why_stale(runner.project, stage, image, lock):
        return None
    path = runner.project.path(pattern, image)
    result: dict[str, Any] = record["result"]
    return result if path.is_file() and path.stat().st_size == result["size"] else None


@contextmanager
def open_runner(project: Project) -> Iterator[Runner]:
    """Give a runner for the time of a block."""
    runner = Runner(project)
    try:
        yield runner
    finally:
        runner.close()
