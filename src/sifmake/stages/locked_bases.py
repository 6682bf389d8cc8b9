"""Open the bases of an image that is built, as its lock describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.builder.build_bases import BUNDLE, SCRATCH, BaseOpener, OpenedBase
from sifmake.builder.image_signing import check_published
from sifmake.builder.lazy_source import LazySource
from sifmake.builder.lock_proof import LockProof
from sifmake.builder.oci_bundle import read_bundle
from sifmake.errors import LockError
from sifmake.oci.platform import parse_platform
from sifmake.project.locks import PrebuiltLock
from sifmake.project.stage_table import TARGET
from sifmake.stages.build_locking import as_lock, base_settings
from sifmake.stages.definition_inputs import bundle_digest
from sifmake.stages.prebuilt_images import prove_finished, stored_file
from sifmake.stages.published import published_result
from sifmake.steps.tree_streams import locked_folder_stream

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.builder.builder import Builder
    from sifmake.definition.model import Base
    from sifmake.layers.pack_reader import Pack
    from sifmake.project.images import ImageSettings
    from sifmake.project.locks import BuildLock, Lock
    from sifmake.project.project import Project
    from sifmake.stages.definition_inputs import DefinitionInputs, ProjectBase
    from sifmake.steps.layer_maker import LayerMaker


def _nothing() -> None:
    """Do nothing before layers are downloaded: stage ``pull`` may run where no script can."""


class LockedBases:
    """Opens the bases of one image.

    Args:
        project: The project.
        image: The image.
        lock: Its lock, which is up to date.
        found: Its definition.
        builder: Provides the store and the sources.
        maker: Makes layers of root file systems.
    """

    def __init__(
        self,
        project: Project,
        image: ImageSettings,
        lock: BuildLock,
        found: DefinitionInputs,
        builder: Builder,
        maker: LayerMaker,
    ) -> None:
        self._project = project
        self._image = image
        self._inputs = found
        self._builder = builder
        self._maker = maker
        self._bases = {base.base.uri: base for base in found.bases()}
        self._locked = {one.source: one for one in lock.inputs.bases}
        self._compression = lock.build.compression
        parts = (parse_platform(lock.platform), self._compression, project.configuration, _nothing)
        self._opener = BaseOpener(builder, maker, *parts)

    def open(self, base: Base) -> OpenedBase:
        """Return the layers and settings of a base; what the store lacks is downloaded by digest.

        Raises:
            LockError: The lock does not have the base, or its entry does not follow from the digest.
            SifmakeError: The base cannot be read.
        """
        if base.agent == SCRATCH:
            return OpenedBase()
        found = self._bases[base.uri]
        if found.image:
            return self._opener.open_local(self._published(found), base)
        if found.path is not None:
            opened = self._on_this_machine(found, found.path)
            if self._is_locked(found, found.path, opened):
                return opened
            for pack in opened.packs:
                pack.close()
            where = self._inputs.definition.source + (f":{base.line}" if base.line else "")
            hint = f"run `sifmake lock {self._image.name}`"
            raise LockError(f"the base {found.name} changed while it was read", where=where, hint=hint)
        lock = as_lock(self._locked[found.name], base_settings(self._image, found))
        if isinstance(lock, PrebuiltLock):
            prove_finished(self._project, self._image.name, lock)
            return self._opener.open_local(stored_file(self._project, self._image.name, lock), base)
        return self._layers(lock)

    def fetch(self) -> tuple[list[str], int]:
        """Download what the store lacks of bases from elsewhere; return the DiffIDs of their layers, and how many."""
        diff_ids: list[str] = []
        for found in self._bases.values():
            if found.path is None:
                opened = self.open(found.base)
                diff_ids += [pack.meta.diff_id for pack in opened.packs]
                for pack in {id(pack): pack for pack in opened.packs}.values():
                    pack.close()
        return diff_ids, len(diff_ids)

    def _layers(self, lock: Lock) -> OpenedBase:
        uri, name = lock.source, self._image.name
        source = LazySource(lock.name, lambda: self._builder.open_source(uri, self._compression))
        try:
            proof = LockProof(self._project, name, lock)
            proof.prove(source)
            image = self._builder.load_image(source, lock.manifest)
            proof.check_image(image)
            return self._opener.open_image(source, image, uri.transport, lock.image)
        finally:
            source.close()

    def _on_this_machine(self, found: ProjectBase, path: Path) -> OpenedBase:
        if found.base.agent == BUNDLE:
            bundle = read_bundle(path, self._project.configuration.limits)
            return OpenedBase([self._folder(bundle.root)], bundle.settings, oci_config=bundle.settings.document)
        if path.is_dir():
            return OpenedBase([self._folder(path)], is_prepared=True)
        return self._opener.open_local(path, found.base)

    def _is_locked(self, found: ProjectBase, path: Path, opened: OpenedBase) -> bool:
        """Tell whether what was read from this machine is what the lock was compared with."""
        locked, digest = self._locked[found.name].manifest, opened.packs[0].meta.diff_id
        if found.base.agent == BUNDLE:
            return bundle_digest(path, digest) == locked
        return digest == locked if path.is_dir() else not self._inputs.has_changed(path)

    def _folder(self, folder: Path) -> Pack:
        return self._maker.find_or_make(lambda: locked_folder_stream(folder), folder.absolute().name)

    def _published(self, found: ProjectBase) -> Path:
        """Return the finished file of an image of the project, which must be that of its lock.

        Raises:
            LockError: It is not there, or is another one.
            SigningError: It does not verify.
        """
        project, name = self._project, found.image
        lock = project.lock(name)
        if published_result(project, name, lock) is None:
            what = f"the image {name}, from which it is built, is not finished"
            raise LockError(what, where=str(project.path(TARGET, name)), hint=f"build it first: doit pull_image:{name}")
        check_published(project, name)
        return project.path(TARGET, name)
