"""Build a definition file or a root file system into a SIF file or a sandbox."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from sifmake.builder.build_bases import BaseOpener
from sifmake.builder.builder import make_builder
from sifmake.builder.damaged_packs import drop_damaged, retry_damaged
from sifmake.builder.finished_image import check_sandbox_target, sandbox_place, write_sandbox, write_stage_sif
from sifmake.builder.host_sections import HostSections
from sifmake.builder.post_steps import PostSteps
from sifmake.builder.signed_notes import NoteSignatures
from sifmake.builder.stage_build import BuiltStage, Workshop, build_stage
from sifmake.builder.step_runner import StepRunner
from sifmake.builder.step_trees import unpacked_place
from sifmake.builder.steps_check import StepsCheck
from sifmake.errors import FlattenError, PackDamagedError, SquashfsError, StepError, UsageError
from sifmake.files import make_folders, replace_file
from sifmake.output_path import check_output
from sifmake.places import output_place, store_place, telling_places
from sifmake.project.configuration import Configuration
from sifmake.rootfs.editing import Editor
from sifmake.rootfs.places import META
from sifmake.steps.layer_maker import LayerMaker
from sifmake.steps.stage_tree import StageTree
from sifmake.temporaries import folder_beside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sifmake.builder.build_request import BuildRequest
    from sifmake.builder.builder import Builder
    from sifmake.definition.model import BuildStage
    from sifmake.progress import Progress
    from sifmake.store import Store

_EPOCH = "SOURCE_DATE_EPOCH"
_COVERED = frozenset({b"tmp", b"dev", b"proc", b"sys"})
"""Folders at the top of an image that are not its own while a program runs."""


def build_definition(
    request: BuildRequest,
    progress: Progress,
    configuration: Configuration | None = None,
    output: Callable[[bytes], None] = lambda _: None,
) -> tuple[int, int]:
    """Build a definition; sign and verify a SIF file if a key is configured.

    Returns the number of scripts that ran, and the number of layers taken from the store.

    Args:
        request: What to build, and where.
        progress: Receives messages.
        configuration: Store, registries, limits and key; None for defaults.
        output: Gets the output of scripts.

    Raises:
        SifmakeError: The build failed; the target is unchanged.
    """
    options = configuration or Configuration()
    builder = make_builder(options, progress, request.access)
    output_of = sandbox_place(request.target) if request.sandbox else output_place(request.target)
    dropped: list[bool] = []
    with telling_places(store_place(builder.store.root), output_of, unpacked_place()):
        return retry_damaged(
            lambda: _build(request, builder, options, output, dropped), lambda _: dropped == [True], progress
        )


def _build(
    request: BuildRequest,
    builder: Builder,
    options: Configuration,
    output: Callable[[bytes], None],
    dropped: list[bool],
) -> tuple[int, int]:
    """Build once; if that fails, add to ``dropped`` whether damaged packs were removed from the store."""
    if request.sandbox:
        check_sandbox_target(request.target, force=True)
    else:
        check_output(request.target)
    make_folders(request.target.parent)
    compression = "gzip" if request.sandbox else request.compression
    with (
        LayerMaker(builder.store, compression, options.limits, builder.settings.progress) as maker,
        StepRunner(request.steps, maker, builder.settings.progress) as runner,
        ExitStack() as opened,
    ):
        workshop = _workshop(request, builder, runner, options, output)
        trees: list[StageTree] = []
        opened.callback(_close, trees)
        opened.push(_Dropping(trees, builder.store, dropped))
        built = build_stages(workshop, trees)
        workshop.post.finish()
        if request.sandbox:
            progress = builder.settings.progress

            def check(folder: Path) -> None:
                if _has_test(request, built):
                    _test(request, built, folder, progress, output)

            write_sandbox(built, request.target, progress, check)
        else:
            _write_sif(workshop, built, builder.store, options, output)
        return workshop.post.ran, workshop.post.cached


def _workshop(
    request: BuildRequest,
    builder: Builder,
    runner: StepRunner,
    options: Configuration,
    output: Callable[[bytes], None],
) -> Workshop:
    source, maker, progress = request.definition.source, runner.maker, builder.settings.progress
    signatures = NoteSignatures(options, builder.store)
    remotes = builder.remote_steps(maker.compression)
    check = StepsCheck(request.steps_lock, builder.store, maker.find, progress, options.limits, signatures, remotes)
    has_scripts = any(_has_scripts(stage) for stage in request.definition.stages)

    def before_fetching() -> None:
        if has_scripts:
            runner.prepare()

    if remotes is None and (not request.steps.use_cache or builder.store.steps.is_empty()):
        before_fetching()  # scripts will run, so it can be said before anything is asked for
    return Workshop(
        request=request,
        bases=BaseOpener(builder, maker, request.platform, request.compression, options, before_fetching),
        maker=maker,
        post=PostSteps(runner, builder.store, source, output, check),
        host=HostSections(runner, source, output),
        limits=options.limits,
        progress=progress,
        source_epoch=_source_epoch(),
    )


def _has_scripts(stage: BuildStage) -> bool:
    """Whether building a stage may run something as root."""
    return bool({"post", "setup"} & stage.sections.keys() or stage.apps)


class _Dropping:
    """Removes damaged packs from the store if the block fails, while they are open."""

    def __init__(self, trees: list[StageTree], store: Store, dropped: list[bool]) -> None:
        self._trees = trees
        self._store = store
        self._dropped = dropped

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PackDamagedError | FlattenError | SquashfsError):
            packs = [pack for tree in self._trees for pack in tree.packs]
            self._dropped.append(drop_damaged(packs, self._store, error))


def _close(trees: list[StageTree]) -> None:
    for tree in trees:
        tree.close()


def build_stages(workshop: Workshop, trees: list[StageTree]) -> BuiltStage:
    """Build all stages in the order of the file; return the last one.

    Args:
        workshop: Data shared by all stages.
        trees: Gets the tree of each stage, which the caller closes, even after an error.

    Raises:
        SifmakeError: A stage cannot be built.
    """
    done: dict[str, BuiltStage] = {}
    definition = workshop.request.definition
    for stage in definition.stages:
        tree = StageTree(0, workshop.limits, workshop.progress)
        trees.append(tree)
        built = build_stage(workshop, stage, tree, done, definition.text)
        done[stage.name] = built
    return built


def _write_sif(
    workshop: Workshop, built: BuiltStage, store: Store, options: Configuration, output: Callable[[bytes], None]
) -> None:
    """Write the file next to the target, and rename it after it was tested, signed and verified."""
    request, progress = workshop.request, workshop.progress
    with folder_beside(request.target) as folder:
        temporary = folder / request.target.name
        text = request.definition.text
        digests = write_stage_sif(built, text, temporary, request.compression, store, progress).objects
        if _has_test(request, built):
            from sifmake.builder.passed_tests import passed_key, run_once

            test = partial(_test, request, built, temporary, progress, output)
            key = passed_key(digests, "%test", network=request.test_network)
            run_once(store, key, built.stage.text("test"), test, again=not request.steps.use_cache)
        if options.key:
            from sifmake.builder.image_signing import sign_and_verify

            sign_and_verify(options, temporary, digests, progress)
        replace_file(temporary, request.target)


def _has_test(request: BuildRequest, built: BuiltStage) -> bool:
    """Whether there is a test to run."""
    return request.test and "test" in built.stage.sections and (request.only is None or "test" in request.only)


def _test(
    request: BuildRequest, built: BuiltStage, image: Path, progress: Progress, output: Callable[[bytes], None]
) -> None:
    """Run ``%test``. Raises StepError if it fails."""
    from sifmake.builder.foreign_programs import check_runnable
    from sifmake.builder.image_test import ImageTest

    progress.info("running the test")
    where = f"{request.definition.source}:{built.stage.sections['test'].line}: %test"
    check_runnable(built.architecture, "the test", where)
    check_reach(built, where)
    ImageTest(image, where, output, network=request.test_network).run_script()


def check_reach(built: BuiltStage, where: str) -> None:
    """Refuse a test that nobody could find: a link leads to a folder that is another one while a program runs.

    Args:
        built: The stage that has the test.
        where: The section, for messages.

    Raises:
        StepError: The test cannot be found.
    """
    path = Editor(built.tree.tree, 0).directory(META).path
    if path.partition(b"/")[0] in _COVERED or path.startswith(b"var/tmp"):
        what = f"/.singularity.d of the base is a link to /{path.decode(errors='replace')}, where no test can be found"
        raise StepError(what, where=where, hint="remove the link from the base")


def _source_epoch() -> int | None:
    """Return SOURCE_DATE_EPOCH (reproducible-builds.org); None if it is not set.

    Raises:
        UsageError: It is not a number of seconds.
    """
    given = os.environ.get(_EPOCH, "")
    if not given:
        return None
    if not given.isascii() or not given.isdigit():
        raise UsageError(
            f"{_EPOCH} is not a number of seconds: {given!r}", hint="unset it, or set it to the output of `date +%s`"
        )
    return int(given)
