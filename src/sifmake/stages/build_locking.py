"""Make the lock of an image that is built: digests of its definition, of its bases, and of the files that it copies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sifmake.block_compression import full_compression
from sifmake.errors import LockError, SifmakeError
from sifmake.json_text import without_surrogates
from sifmake.project.definition_settings import BUILT
from sifmake.project.images import ImageSettings
from sifmake.project.locks import BaseLock, Build, BuildInputs, BuildLock, LockedBase, PrebuiltLock
from sifmake.project.records import digest_of
from sifmake.reference import parse_uri
from sifmake.stages.definition_inputs import ProjectBase, check_order, read_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sifmake.project.locks import AnyLock, Lock
    from sifmake.project.project import Project
    from sifmake.stages.definition_inputs import DefinitionInputs


@dataclass(frozen=True)
class BuildLocker:
    """Makes locks of images that are built.

    Attributes:
        project: Provides configuration and store.
        ask: Returns the lock of a base, from its settings, its present lock, and the digest that an edit asks for.
        lock_of: Returns the lock of an image of the project, as it should be.
        edited: Digests of bases in a lock that somebody has edited, by their ``from``.
    """

    project: Project
    ask: Callable[[ImageSettings, Lock | PrebuiltLock | None, str], AnyLock]
    lock_of: Callable[[str], AnyLock]
    edited: Mapping[str, str]

    def make(self, image: ImageSettings, old: AnyLock | None) -> BuildLock:
        """Return the lock as it should be; registries are asked only for bases.

        Args:
            image: The image.
            old: The present lock, if it is for the same source and platform.

        Raises:
            SifmakeError: The definition cannot be read, or a base cannot be locked.
        """
        found = read_inputs(self.project, image)
        usable = old if isinstance(old, BuildLock) else None
        if found.host:
            what = f"%{found.host[0]} runs on this machine at every build, so its result is not locked"
            self.project.progress.warning(f"{found.definition.source}: {what}")
        bases = tuple(self._base(found, image, base, usable) for base in found.bases())
        inputs = _make_inputs(found, image, bases, self._renewed(found, image, usable))
        build = self.project.wanted_build(image)
        name = image.source.given.rstrip("/").rpartition("/")[2] or image.name
        return BuildLock(image.source, name, inputs.digest, image.platform, inputs, build=build)

    def _renewed(self, found: DefinitionInputs, image: ImageSettings, old: BuildLock | None) -> dict[str, str]:
        """Return the dates of the steps that expire."""
        from sifmake.steps.renewals import renew

        cache_for = image.definition.cache_for if image.definition else ""
        dates = old.inputs.renewed if old else {}
        return renew(found.definition, dates, cache_for, datetime.now(UTC), offline=self.project.modes.offline)

    def _base(
        self, found: DefinitionInputs, image: ImageSettings, base: ProjectBase, old: BuildLock | None
    ) -> LockedBase:
        if base.image:
            check_order(self.project, image, base.image)
            return _of_image(base, self.lock_of(base.image))
        if base.path is not None:
            return _of_path(base.path, base.name, found.tree_digest(base))
        known = next((one for one in old.inputs.bases if one.source == base.name), None) if old else None
        settings = base_settings(image, base)
        try:
            lock = self.ask(settings, as_lock(known, settings) if known else None, self.edited.get(base.name, ""))
        except SifmakeError as error:
            raise error.within(f"{found.definition.source}:{base.base.line}") from None
        if isinstance(lock, PrebuiltLock):
            return LockedBase(lock.image, base.name, lock.file, lock.size, lock.mark)
        return LockedBase(without_surrogates(lock.image), base.name, lock.built_from)


def _of_path(path: Path, name: str, digest: str) -> LockedBase:
    """Return the entry of a base on this machine."""
    return LockedBase(f"{without_surrogates(path.name)}@{digest}", name, digest)


def _make_inputs(
    found: DefinitionInputs, image: ImageSettings, bases: tuple[LockedBase, ...], renewed: dict[str, str]
) -> BuildInputs:
    """Return the inputs of an image with these bases; this reads all files that it copies."""
    settings = image.definition
    if settings is None:
        raise TypeError(image)
    return BuildInputs(
        definition=found.text_digest,
        platform=image.platform,
        arguments=dict(sorted(settings.arguments.items())),
        network=settings.network,
        clean=settings.clean,
        bases=bases,
        files=found.files(),
        renewed=renewed,
        host=found.host,
    )


def base_settings(image: ImageSettings, base: ProjectBase) -> ImageSettings:
    """Return a base that is not on this machine as an image, which can be locked like one."""
    return ImageSettings(image.name, parse_uri(base.base.uri), image.platform, image.compression, sign=False)


def as_lock(base: LockedBase, settings: ImageSettings) -> BaseLock | PrebuiltLock:
    """Return the entry of a base as the lock of an image."""
    name, _, digest = base.image.rpartition("@")
    head = (settings.source, name, digest, settings.platform)
    build = Build(full_compression(settings.compression), {}, "", {})
    if settings.source.is_sif:
        return PrebuiltLock(*head, file=base.manifest, size=base.size, mark=base.mark, build=build)
    return BaseLock(*head, manifest=base.manifest, config="", layers=(), build=build)


def _of_image(base: ProjectBase, lock: AnyLock) -> LockedBase:
    """Return the entry of a base that is an image of the project: it changes with that image's lock."""
    content = {"from": lock.built_from, "labels": lock.build.labels, "formats": lock.build.formats}
    digest = digest_of(content)
    return LockedBase(f"{base.image}@{digest}", base.name, digest)


def check_inputs(project: Project, image: ImageSettings, lock: AnyLock) -> DefinitionInputs | None:
    """Compare a lock with the definition, the files and the bases on this machine; no registry is asked.

    Returns:
        What was compared, so that nothing else is built; None for an image that is not built.

    Raises:
        LockError: The lock is out of date.
        SifmakeError: The definition or a file cannot be read.
    """
    if image.source.transport != BUILT or not isinstance(lock, BuildLock):
        return None
    found = read_inputs(project, image)
    if found.host and project.modes.locked:
        what = f"an image with %{found.host[0]}, which runs on this machine, cannot be locked"
        raise LockError(what, where=found.definition.source, hint="build it without locked=1")
    locked = {base.source: base for base in lock.inputs.bases}
    bases = []
    for base in found.bases():
        if base.image:
            bases.append(_of_image(base, project.lock(base.image)))
        elif base.path is not None:
            bases.append(_of_path(base.path, base.name, found.tree_digest(base)))
        elif base.name in locked:
            bases.append(locked[base.name])
        else:
            raise _outdated(project, image, f"it lacks the base {base.name}")
    wanted = _make_inputs(found, image, tuple(bases), lock.inputs.renewed)
    if wanted.digest != lock.digest:
        raise _outdated(project, image, what_changed(lock.inputs, wanted))
    return found


def _outdated(project: Project, image: ImageSettings, what: str) -> LockError:
    where = str(project.lock_path(image.name))
    return LockError(f"the lock is out of date: {what}", where=where, hint=f"run `sifmake lock {image.name}`")


def what_changed(old: BuildInputs, new: BuildInputs) -> str:
    """Return in words which inputs of a build differ."""
    names = []
    if old.bases != new.bases:
        before = {base.source: base.manifest for base in old.bases}
        changed = [base.source for base in new.bases if before.get(base.source) != base.manifest]
        names.append(f"the base {changed[0]}" if changed else "the list of bases")
    if old.arguments != new.arguments:
        names.append("a build argument")
    elif old.definition != new.definition:
        names.append("the definition")
    if old.files != new.files:
        before = {file.source: file.digest for file in old.files}
        changed = [file.source for file in new.files if before.get(file.source) != file.digest]
        names.append(f"the files {changed[0]}" if changed else "the list of files")
    if old.renewed != new.renewed:
        names.append("a step that expires")
    if (old.network, old.clean) != (new.network, new.clean):
        names.append("network or clean")
    return f"{', '.join(names) or 'an input'} changed"
