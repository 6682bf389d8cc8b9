"""The build of one image from its definition, whose result several stages share within a process."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from sifmake.builder.build_request import BuildRequest, StepSettings
from sifmake.builder.builder import project_builder
from sifmake.builder.damaged_packs import drop_damaged
from sifmake.builder.definition_build import build_stages, check_reach
from sifmake.builder.finished_image import write_stage_sif
from sifmake.builder.host_sections import EarlierHostSections, HostSections
from sifmake.builder.image_packs import foreign_keys
from sifmake.builder.post_environment import passed_variables
from sifmake.builder.post_steps import PostSteps
from sifmake.builder.signed_notes import NoteSignatures
from sifmake.builder.stage_build import Workshop
from sifmake.builder.step_runner import StepRunner
from sifmake.builder.step_trees import unpacked_place
from sifmake.builder.steps_check import StepsCheck, StepsOutcome
from sifmake.errors import LockError, one_line
from sifmake.files import atomic_write
from sifmake.flatten.tree_file import write_tree
from sifmake.oci.platform import parse_platform
from sifmake.places import telling_places
from sifmake.project.records import digest_of, read_record
from sifmake.project.stage_table import UNSIGNED
from sifmake.stages.build_locking import check_inputs
from sifmake.stages.build_session import LateTasks
from sifmake.stages.definition_inputs import allowed_folders, read_inputs
from sifmake.stages.locked_bases import LockedBases
from sifmake.steps.clean_profiles import clean_patterns
from sifmake.steps.layer_maker import LayerMaker

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.assembly.image import SifSummary
    from sifmake.builder.stage_build import BuiltStage
    from sifmake.errors import SifmakeError
    from sifmake.project.locks import BuildLock
    from sifmake.project.project import Project
    from sifmake.stages.definition_inputs import DefinitionInputs
    from sifmake.steps.stage_tree import StageTree


class DefinitionSession:
    """One image being built from its definition.

    Every process builds from the definition and the store, and takes no layer from a record, because a record proves
    nothing; the only exception is the layer of ``%setup``, which runs once for all stages. If nothing is missing, this
    only opens packs.

    Attributes:
        name: The image's name.
        lock: Its lock.
        outcome: How its steps compare with their lock.
        host_layers: DiffIDs of the layers that ``%setup`` gave; None if nothing was built yet.
    """

    def __init__(self, project: Project, name: str, lock: BuildLock) -> None:
        self.name = name
        self.lock = lock
        self._project = project
        self.outcome = StepsOutcome()
        self._found: DefinitionInputs | None = None
        self.host_layers: list[str] | None = None
        self._runs_host = False
        self._built: BuiltStage | None = None
        self._digest = ""
        self._foreign: list[str] = []
        self._trees: list[StageTree] = []

    def fetch(self) -> tuple[list[str], int]:
        """Download what the store lacks of the bases; see :meth:`LockedBases.fetch`."""
        with self._maker() as maker:
            return self._bases(maker).fetch()

    def base_images(self) -> list[str]:
        """Return the images of the project that the definition builds from."""
        return [base.image for base in self._inputs().bases() if base.image]

    def run_steps(self) -> BuiltStage:
        """Build as :meth:`build` does, and run the sections of the host."""
        self.close()
        self.host_layers = None
        self._runs_host = True
        return self.build()

    def build(self) -> BuiltStage:
        """Return the last stage with all layers, from the store or made now.

        Raises:
            LockError: The lock is out of date.
            SifmakeError: A step failed, or a base cannot be read.
        """
        if self._built is None:
            try:
                with telling_places(unpacked_place()):
                    self._built = self._build()
            except BaseException:
                self._built = None
                raise
        return self._built

    def flatten(self, path: Path | None) -> tuple[str, int]:
        """Write the listing of the tree; return the digest of the tree, and the number of its paths.

        The digest covers sifmake's own files, which the listing only names. The tree is not read from the file again.

        Args:
            path: The tree file; None to compute only the digest.
        """
        tree = self.build().tree
        if path is None:
            listing = write_tree(tree.tree, tree.packs, None)
        else:
            with atomic_write(path) as file:
                listing = write_tree(tree.tree, tree.packs, file)
        own = sorted((inode.path.hex(), hashlib.sha256(data).hexdigest()) for inode, data in tree.added())
        self._digest = digest_of([listing, own])
        return self._digest, sum(1 for _ in tree.tree.walk())

    def tree_digest(self) -> str:
        """Return the digest of the tree; see :meth:`flatten`."""
        self.build()
        return self._digest or self.flatten(None)[0]

    def write_sif(self) -> SifSummary:
        """Write the unsigned SIF file; this consumes the tree."""
        built, project, lock = self.build(), self._project, self.lock
        self._built = None
        compression = lock.build.compression
        if project_builder(project).takes_foreign(compression):
            self._foreign = foreign_keys(built.tree.packs, compression)
        definition = self._inputs().definition
        target, text = project.path(UNSIGNED, self.name), definition.text
        if test := built.stage.sections.get("test"):
            check_reach(built, f"{definition.source}:{test.line}: %test")
        made = write_stage_sif(built, text, target, compression, project.store, project.progress, lock.inputs.text)
        self._close_trees()  # after an error they stay, because the damaged one has to be found
        return made

    def foreign(self) -> dict[str, list[str]]:
        """Return the packs of another encoder in the SIF file that was written, as records name them."""
        return {"foreign": self._foreign} if self._foreign else {}

    def drop_damaged(self, error: SifmakeError) -> bool:
        """After an error, remove damaged packs from the store; return whether there were any."""
        packs = [pack for tree in self._trees for pack in tree.packs]
        damaged = drop_damaged(packs, self._project.store, error)
        self.close()
        return damaged

    def close(self) -> None:
        """Close the packs and drop the tree."""
        self._built, self._digest = None, ""
        self._close_trees()

    def _close_trees(self) -> None:
        while self._trees:
            self._trees.pop().close()

    def _inputs(self) -> DefinitionInputs:
        """Return the definition, once the lock is known to be up to date."""
        if self._found is None:
            image = self._project.image(self.name)
            self._found = check_inputs(self._project, image, self.lock) or read_inputs(self._project, image)
        return self._found

    def _maker(self) -> LayerMaker:
        project = self._project
        compression, limits = self.lock.build.compression, project.configuration.limits
        return LayerMaker(project.store, compression, limits, project.progress)

    def _bases(self, maker: LayerMaker) -> LockedBases:
        project = self._project
        image, builder = project.image(self.name), project_builder(project, LateTasks(project.progress))
        return LockedBases(project, image, self.lock, self._inputs(), builder, maker)

    def _build(self) -> BuiltStage:
        found = self._inputs()
        for warning in found.definition.warnings:
            self._project.progress.warning(warning)
        self.close()
        with self._maker() as maker, StepRunner(self._settings(), maker, self._project.progress) as runner:
            workshop = self._workshop(found, runner)
            built = build_stages(workshop, self._trees)
            self.outcome = workshop.post.finish()
            self.host_layers, self._runs_host = workshop.host.layers, False
        if self.lock.inputs.files and found.files() != self.lock.inputs.files:
            what = "a file that the definition copies changed while it was copied"
            raise LockError(what, where=found.definition.source, hint=f"run `sifmake lock {self.name}`")
        return built

    def _settings(self) -> StepSettings:
        inputs = self.lock.inputs
        allowed = self._project.modes.allow_host_sections
        return StepSettings(network=inputs.network, clean=clean_patterns(inputs.clean), allow_host=allowed)

    def _host(self, runner: StepRunner, source: str) -> HostSections:
        """Return what runs the sections of the host, or takes what they gave to the stage ``steps``."""
        if self._runs_host or not self.lock.inputs.host:
            return HostSections(runner, source, self._tell, self._project.root)
        layers = self.host_layers
        if layers is None:
            record = read_record(self._project.record("steps", self.name))
            layers = record["result"].get("host", []) if record else []
        return EarlierHostSections(runner, source, layers)

    def _workshop(self, found: DefinitionInputs, runner: StepRunner) -> Workshop:
        project, source, maker = self._project, found.definition.source, runner.maker
        limits, environ = project.configuration.limits, passed_variables(os.environ)
        signatures = NoteSignatures(project.configuration, project.store)
        use = project.steps_lock(self.name)
        remotes = project_builder(project).remote_steps(self.lock.build.compression)
        check = StepsCheck(use, project.store, maker.find, project.progress, limits, signatures, remotes)
        return Workshop(
            request=self._request(found),
            bases=self._bases(maker),
            maker=maker,
            post=PostSteps(runner, project.store, source, self._tell, check, environ=environ),
            host=self._host(runner, source),
            limits=limits,
            progress=project.progress,
            source_epoch=None,
        )

    def _request(self, found: DefinitionInputs) -> BuildRequest:
        project, lock = self._project, self.lock
        return BuildRequest(
            found.definition,
            project.path(UNSIGNED, self.name),
            folder=project.root,
            platform=parse_platform(lock.platform),
            compression=lock.build.compression,
            allowed=allowed_folders(project),
            labels=lock.build.labels,
            renewed=lock.inputs.renewed,
            steps=self._settings(),
        )

    def _tell(self, output: bytes) -> None:
        """Report what a script prints."""
        for line in output.decode(errors="replace").splitlines():
            self._project.progress.info(one_line(line))
