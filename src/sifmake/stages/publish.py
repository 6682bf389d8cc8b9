"""The stage ``publish``: move the verified SIF file to its final place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.errors import one_line
from sifmake.files import make_folders, replace_file, sha256_of
from sifmake.project.locks import BuildLock
from sifmake.project.records import digest_of
from sifmake.project.stage_table import LOCK, SIGNED, TARGET, TREE, record_pattern
from sifmake.stages.sign import sign_key
from sifmake.stages.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sifmake.builder.image_test import ImageTest
    from sifmake.project.locks import AnyLock
    from sifmake.project.project import Project
    from sifmake.stages.context import StageContext


def _key(project: Project, lock: AnyLock) -> dict[str, Any]:
    """The key without the trusted keys, because they do not change which file is published."""
    key: dict[str, Any] = {"signed": digest_of(sign_key(project, lock))}
    command, network = lock.build.test, lock.build.test_network
    if network:
        return {**key, "test": {"command": command, "network": network}}
    return {**key, "test": command} if command else key


def _run(context: StageContext) -> dict[str, Any]:
    from sifmake.builder.prebuilt_match import kept_header

    signed_by, verified = _signed_and_verified(context)
    target, signed = context.path(TARGET), context.path(SIGNED)
    if isinstance(context.lock, BuildLock):
        _test_section(context, signed)
    if command := context.lock.build.test:
        _test_command(context, signed, command)
    make_folders(target.parent)
    replace_file(signed, target)
    for left in (signed, context.path(TREE)):  # rename(2) does nothing if both names are the same file
        try:
            left.unlink(missing_ok=True)
        except OSError as error:
            what = f"{target} is in place, but this file cannot be removed: {error.strerror}"
            raise OSError(error.errno, what, str(left)) from error
    sizes = {"sha256": verified["sha256"], "signer": signed_by["signer"], "size": verified["size"]}
    return sizes | kept_header(signed_by)


def _test_section(context: StageContext, signed: Path) -> None:
    """Run ``%test`` of the definition in the verified file.

    Raises:
        StepError: It failed; the published file stays as it is.
    """
    from sifmake.builder.foreign_programs import check_runnable
    from sifmake.stages.definition_inputs import read_inputs

    definition = read_inputs(context.project, context.project.image(context.image)).definition
    section = definition.last.sections.get("test")
    if section is None:
        return
    where = f"{definition.source}:{section.line}: %test"

    def run(test: ImageTest) -> None:
        check_runnable((context.result("sif") or {}).get("architecture", ""), "the test", where)
        test.run_script()

    _test(context, signed, where, ("%test", section.text), "correct %test, or the image", run)


def _test_command(context: StageContext, signed: Path, command: str) -> None:
    """Run the test of images.yaml; raises like :func:`_test_section`."""
    hint = "correct 'test' in images.yaml, or the image"
    _test(context, signed, "test", (command, command), hint, lambda test: test.run_command(command))


def _test(
    context: StageContext, signed: Path, where: str, named: tuple[str, str], hint: str, run: Callable[[ImageTest], None]
) -> None:
    """Run a test of the verified file, unless it has passed before.

    Args:
        context: The image.
        signed: The file.
        where: Name of the test in messages.
        named: What its key contains, and its text for the note.
        hint: What to do if it fails.
        run: Runs it.
    """
    from sifmake.builder.image_test import ImageTest
    from sifmake.builder.passed_tests import passed_key, run_once

    network = bool(context.lock.build.test_network)
    test = ImageTest(signed, where, _teller(context), network, f"the old file is kept; {hint}")
    found = (context.result("sif") or {}).get("objects", {})
    objects = {int(number): digest.removeprefix("sha256:") for number, digest in found.items()}
    key = passed_key(objects, named[0], network=network)
    run_once(context.project.store, key, named[1], lambda: run(test), again=not objects)


def _teller(context: StageContext) -> Callable[[bytes], None]:
    """Return a function that reports the output of a program."""

    def tell(output: bytes) -> None:
        for line in output.decode(errors="replace").splitlines():
            context.project.progress.info(one_line(line))

    return tell


def _signed_and_verified(context: StageContext) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the results of stages sign and verify for the present file; repeat a stage whose result does not match."""
    signed_by = context.known("sign", SIGNED)
    if signed_by is None:
        signed_by = context.make("sign")
        verified = context.make("verify")
    else:
        verified = context.ensure("verify", SIGNED)
    signed = context.path(SIGNED)
    if context.seen.is_unchanged(signed):
        return signed_by, verified
    if context.lock.build.key:
        # Anyone who can replace the file can also change the record that says it was verified.
        verified = context.make("verify")
        signed_by = context.ensure("sign", SIGNED)
    elif f"sha256:{sha256_of(signed)}" != verified["sha256"]:
        signed_by = context.make_again("sign", signed)
        verified = context.make("verify")
    return signed_by, verified


STAGE = Stage(
    name="publish",
    doc="move the verified SIF to its final place",
    inputs=(LOCK, SIGNED, record_pattern("verify")),
    key=_key,
    run=_run,
    big=(TARGET,),
)
