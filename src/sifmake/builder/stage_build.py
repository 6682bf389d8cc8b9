"""Build one stage of a definition file: its base, then a layer for each of its sections."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from sifmake.builder.post_steps import PostText, Surroundings
from sifmake.definition.apps import app_edits
from sifmake.definition.build_labels import About
from sifmake.definition.problems import DefinitionPlace
from sifmake.definition.script_command import script_command
from sifmake.definition.section_choice import SectionChoice
from sifmake.definition.section_files import Below, apply_sections
from sifmake.definition.steps import post_steps
from sifmake.errors import SifmakeError
from sifmake.json_text import parse_json
from sifmake.layers.entry import DIR, Entry
from sifmake.rootfs.gojson import indented
from sifmake.rootfs.labels import parse_created
from sifmake.rootfs.places import add_image_scripts, add_places, add_plain_scripts
from sifmake.rootfs.prepare import choose_architecture
from sifmake.steps.copy_layer import LayerFile, data_file, layer_stream
from sifmake.steps.renewals import text_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sifmake.builder.build_bases import OpenedBase
    from sifmake.builder.build_request import BuildRequest
    from sifmake.builder.host_sections import HostSections
    from sifmake.builder.post_steps import PostSteps
    from sifmake.definition.copies import Copy
    from sifmake.definition.host_folder import HostFolder
    from sifmake.definition.model import Base, BuildStage
    from sifmake.limits import Limits
    from sifmake.progress import Progress
    from sifmake.steps.layer_maker import LayerMaker
    from sifmake.steps.stage_tree import StageTree

_LABELS = b".singularity.d/labels.json"
_SCRIPT, _SHELL = "/.post.script", ("/bin/sh", "-ex")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+\Z")
"""Removed at the end of a script, so that a section added after it does not change it."""
_TEXT_BYTES = 8 << 20
_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_MOST_WORDS = 2000
_LATEST = (1 << 32) - 1


class Bases(Protocol):
    """Opens the bases of a definition."""

    def open(self, base: Base) -> OpenedBase:
        """Return the layers and settings of a base."""


@dataclass(frozen=True)
class Workshop:
    """Data shared by all stages of a build.

    Attributes:
        request: What to build.
        bases: Opens bases: a :class:`~sifmake.builder.build_bases.BaseOpener`, or one that knows their digests.
        maker: Makes layers.
        post: Runs ``%post``.
        host: Runs ``%pre`` and ``%setup``.
        limits: Bounds on input.
        progress: Receives messages.
        source_epoch: SOURCE_DATE_EPOCH of the caller; None if it is not set.
    """

    request: BuildRequest
    bases: Bases
    maker: LayerMaker
    post: PostSteps
    host: HostSections
    limits: Limits
    progress: Progress
    source_epoch: int | None


@dataclass
class BuiltStage:
    """A finished stage.

    Attributes:
        stage: The stage in the definition.
        tree: Its tree.
        architecture: Architecture of its programs, in Go's spelling; empty if it has none.
        labels: All labels.
        oci_config: Members of ``oci-config.json``; None if there is none.
    """

    stage: BuildStage
    tree: StageTree
    architecture: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    oci_config: dict[str, Any] | None = None


def build_stage(
    workshop: Workshop, stage: BuildStage, tree: StageTree, done: Mapping[str, BuiltStage], text: bytes
) -> BuiltStage:
    """Build one stage.

    Args:
        workshop: Data shared by all stages.
        stage: The stage.
        tree: An empty tree, which is filled.
        done: Earlier stages by name.
        text: The definition as recorded in the image.

    Raises:
        SifmakeError: The stage cannot be built.
    """
    return _StageBuild(workshop, stage, tree, done).run(text)


class _StageBuild:
    def __init__(self, workshop: Workshop, stage: BuildStage, tree: StageTree, done: Mapping[str, BuiltStage]) -> None:
        self._workshop = workshop
        self._request = workshop.request
        self._stage = stage
        self._tree = tree
        self._done = done
        self._choice = SectionChoice(self._request.force, self._request.only)
        self._place = DefinitionPlace(self._request.definition.source)

    @cached_property
    def _folder(self) -> HostFolder:
        """The folder of the host from which files are copied."""
        from sifmake.definition.host_folder import HostFolder

        return HostFolder(self._request.folder.absolute(), allowed=self._request.allowed)

    def run(self, text: bytes) -> BuiltStage:
        if self._choice.text(self._stage, "pre"):
            self._workshop.host.run_pre(self._stage.sections["pre"])
        base = self._begin()
        architecture = self._architecture(base)
        labels = self._base_labels(base)
        self._add_apps()
        self._copy_files(from_stages=True)
        around = self._surroundings(base, architecture)
        self._set_up(around)
        self._copy_files(from_stages=False)
        post_labels = self._workshop.post.apply(self._steps(), self._tree, around)
        about = self._about(base, architecture)
        editor = self._tree.edit()
        below = Below(lambda path: self._tree.read_text(path, _TEXT_BYTES), labels, post_labels)
        limits = self._workshop.limits
        all_labels, warnings = apply_sections(editor, self._stage, text, below, about, self._choice, limits)
        if self._request.labels:
            all_labels = dict(sorted({**all_labels, **self._request.labels}.items()))
            editor.write(_LABELS, indented(all_labels), 0o644, keep_mode=True)
        self._tree.keep(editor)
        self._warn(warnings)
        return BuiltStage(self._stage, self._tree, architecture, all_labels, base.oci_config)

    def _begin(self) -> OpenedBase:
        """Put the base's layers and sifmake's own files into the tree."""
        try:
            base = self._workshop.bases.open(self._stage.base)
        except SifmakeError as error:
            line = self._stage.base.line
            raise error.within(f"{self._place.source}:{line}") if line else error from None
        tree = self._tree
        for number, pack in enumerate(base.packs):
            try:
                tree.apply(pack)
            except BaseException:
                for left in base.packs[number + 1 :]:
                    left.close()
                raise
        tree.epoch = self._epoch(base)
        editor = tree.edit()
        warnings = add_places(editor, keep=base.is_prepared)
        if base.settings is not None:
            warnings += add_image_scripts(editor, base.settings)
            editor.write(_LABELS, indented(dict(sorted(base.settings.labels.items()))), 0o644, keep_mode=True)
        else:
            add_plain_scripts(editor, keep=base.is_prepared)
        if not self._stage.apps:
            for edit in app_edits(self._stage, self._exists):
                editor.write(edit.path, edit.data or b"", edit.mode)
        tree.keep(editor)
        tree.end_base()
        self._warn(warnings)
        return base

    def _epoch(self, base: OpenedBase) -> int:
        given = self._workshop.source_epoch
        if given is None:
            created = parse_created(base.created)
            given = int(created.timestamp()) if created else self._tree.latest_time()
        return min(max(given, 0), _LATEST)

    def _architecture(self, base: OpenedBase) -> str:
        said = base.architecture or self._request.platform.architecture
        return choose_architecture(self._tree.tree, said, self._tree.read_head)[0]

    def _base_labels(self, base: OpenedBase) -> Mapping[str, str]:
        if base.settings is not None:
            return base.settings.labels
        data = self._tree.read_text(_LABELS, _TEXT_BYTES)
        try:
            found = parse_json(data) if data else {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            self._warn(["/.singularity.d/labels.json of the base is not a JSON object, so its labels are lost"])
            return {}
        return {name: value for name, value in found.items() if isinstance(value, str)}

    def _add_apps(self) -> None:
        """Make a layer of the apps' folders and files, and one of the copies of ``%appfiles``."""
        if not self._stage.apps:
            return
        from sifmake.definition.host_copying import plan_app_copies

        tree, epoch = self._tree.tree, self._tree.epoch
        edits = app_edits(self._stage, self._exists)
        files = [
            LayerFile(Entry(edit.path, DIR, edit.mode, 0, 0, epoch))
            if edit.data is None
            else data_file(edit.path, edit.data, edit.mode, epoch)
            for edit in edits
            if edit.data is not None or not self._exists(edit.path)
        ]
        self._apply(lambda: layer_stream(files, tree), "files of apps")
        for app in self._stage.apps:
            limits = self._workshop.limits
            self._copy(plan_app_copies(app, self._folder, tree, self._place, limits), None, f"files of {app.name}")

    def _exists(self, path: bytes) -> bool:
        return self._tree.tree.resolve(path, follow_last=False) is not None

    def _copy_files(self, *, from_stages: bool) -> None:
        """Make a layer of the copies of each ``%files`` section, from stages or from the host."""
        for files in self._stage.files if self._choice.counts("files") else ():
            if bool(files.stage) != from_stages:
                continue
            tree, limits = self._tree.tree, self._workshop.limits
            if from_stages:
                from sifmake.definition.stage_copying import plan_stage_copies

                source = self._done[files.stage].tree
                copies = plan_stage_copies(files, source.tree, tree, self._place, limits)
                self._copy(copies, source, f"files from {files.stage}")
            else:
                from sifmake.definition.host_copying import plan_host_copies

                self._copy(plan_host_copies(files, self._folder, tree, self._place, limits), None, "files")

    def _copy(self, copies: Sequence[Copy], source: StageTree | None, label: str) -> None:
        if copies:
            from sifmake.steps.copied_files import copied_file

            tree, epoch, file = self._tree.tree, self._tree.epoch, self._place.source
            files = [copied_file(copy, self._folder, source, epoch, f"{file}:{copy.line}") for copy in copies]
            self._apply(lambda: layer_stream(files, tree), label)

    def _apply(self, stream: Callable[[], Iterable[bytes]], label: str) -> None:
        self._tree.apply(self._workshop.maker.find_or_make(stream, label))

    def _set_up(self, around: Surroundings) -> None:
        """Run ``%setup``, which sees the host and changes the tree; it runs every time."""
        if self._choice.text(self._stage, "setup"):
            self._workshop.host.set_up(self._stage.sections["setup"], self._tree, around.epoch)

    def _steps(self) -> list[PostText]:
        post = self._stage.sections.get("post")
        words = script_command(post, _SCRIPT, self._place) if post else (*_SHELL, _SCRIPT)
        steps = post_steps(self._stage, self._place, self._workshop.limits)
        texts = [_BLANK_LINES.sub("\n", step.text) for step in steps]
        return [
            PostText(text, step.lines, words, self._renewed(step.text), _words_in(texts[number:]))
            for number, (step, text) in enumerate(zip(steps, texts, strict=True), 1)
        ]

    def _renewed(self, text: str) -> str:
        """Return the date on which a step was renewed; empty if it does not expire."""
        dates = self._request.renewed
        return dates.get(text_digest(text), "") if dates else ""

    def _surroundings(self, base: OpenedBase, architecture: str) -> Surroundings:
        environment = base.settings.env if base.settings is not None else ()
        return Surroundings(environment, base.is_prepared, architecture, self._tree.epoch)

    def _about(self, base: OpenedBase, architecture: str) -> About:
        created = datetime.fromtimestamp(self._tree.epoch, UTC)
        variant = self._request.platform.variant
        return About(architecture, variant, created, base.canonical, base.digest)

    def _warn(self, warnings: Iterable[str]) -> None:
        for warning in warnings:
            self._workshop.progress.warning(warning)


def _words_in(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the words of scripts that may be names of functions, as many as a command can have."""
    return tuple(sorted({word for text in texts for word in _WORD.findall(text)})[:_MOST_WORDS])
