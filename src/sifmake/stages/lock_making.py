"""Make a lock: from the image that its source has now, or from a digest that a person wrote into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.builder.builder import project_builder
from sifmake.builder.indexes import ProvenIndexes
from sifmake.builder.lazy_source import LazySource
from sifmake.builder.lock_proof import LockProof, UnprovenError
from sifmake.errors import LockError, SourceError
from sifmake.oci.platform import parse_platform
from sifmake.project.lock_source import is_for, pinned_digest
from sifmake.project.locks import AnyLock, BuildLock, Lock, LockedLayer, PrebuiltLock
from sifmake.reference.uri import REGISTRY_TRANSPORTS
from sifmake.sources.base import Resolved, name_note_key
from sifmake.stages.once import Answers
from sifmake.stages.prebuilt_images import lock_prebuilt, prove_finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.builder.builder import Builder
    from sifmake.oci.model import Platform
    from sifmake.progress import Progress
    from sifmake.project.images import ImageSettings
    from sifmake.project.lock_edits import FoundLock
    from sifmake.project.project import Project
    from sifmake.reference import Uri
    from sifmake.sources.base import Source


class _KnownFromLock(ProvenIndexes):
    """Indexes known from the store and the lock. With a lock, a HEAD request is enough even if the store is new.

    Attributes:
        trusting: Whether to accept the lock if the store proves nothing.
    """

    def __init__(self, lock: Lock | None, project: Project, mark: str, *, trusting: bool) -> None:
        super().__init__(project.store, project.configuration.limits, mark)
        self.trusting = trusting
        self._lock = lock

    def find_manifest(self, index_digest: str, platform: Platform) -> str | None:
        """Return the manifest that the store proves, else the lock's; without an index both are the same digest."""
        lock = self._lock
        if lock is not None and index_digest == name_note_key(lock.name):
            return lock.digest
        found = super().find_manifest(index_digest, platform)
        if found is None and lock is not None and (lock.digest, lock.platform) == (index_digest, str(platform)):
            found = lock.manifest if self.trusting or lock.manifest == lock.digest else None
        if found is not None:
            self.proven[index_digest] = found
        return found


class LockMaker:
    """Makes locks in one run; a reference that several images share is requested once.

    Args:
        project: Provides settings and store.
        progress: Receives the progress of transfers.
        lock_of: Returns the lock of another image, as it should be, for images that are built from it.
        check: Whether locks are only checked; if so, an inconsistent lock is an error instead of being made again.
        building: Whether builds follow, which prove locks; if so, nothing is fetched to prove a lock that is current.
    """

    def __init__(
        self,
        project: Project,
        progress: Progress,
        lock_of: Callable[[str], AnyLock],
        *,
        check: bool = False,
        building: bool = False,
    ) -> None:
        self._project = project
        self._lock_of = lock_of
        self._progress = progress
        self._check = check
        self._building = building
        self._answers = Answers()

    def make(self, image: ImageSettings, found: FoundLock) -> AnyLock:
        """Return the lock as it should be: the old one if it builds the same image and is proven.

        Raises:
            LockError: An edit cannot be locked, or a lock that is only checked is inconsistent.
            SourceError: The source has no such image.
        """
        path = self._project.lock_path(image.name)
        if image.definition is not None:
            return self._make_build(image, found)
        if self._project.modes.offline:
            return self._make_offline(image, found, str(path))
        if found.disproved and self._check:
            raise found.disproved
        found.check_name(image.source, path)
        usable = found.lock if found.lock is not None and is_for(found.lock, image) else None
        if not found.digest:
            return self._make(image, usable, "")
        hint = f"correct the digest, or remove the file to lock the current image, then run `sifmake lock {image.name}`"
        try:
            new = self._make(image, usable, found.digest)
        except SourceError as error:
            raise LockError(f"the edited digest cannot be locked: {error}", where=str(path), hint=hint) from error
        if new.digest != found.digest:
            what = f"was edited to {found.digest}, but {image.source.given} has {new.digest}"
            raise LockError(what, where=str(path), hint=hint)
        return new

    def _make(self, image: ImageSettings, usable: AnyLock | None, digest: str) -> AnyLock:
        uri = _pinned(image.source, digest)
        if image.source.is_sif:
            return self._ask_prebuilt(image, usable if isinstance(usable, PrebuiltLock) else None, uri)
        return self._ask(image, usable if isinstance(usable, Lock) else None, uri)

    def _make_build(self, image: ImageSettings, found: FoundLock) -> AnyLock:
        """Return the lock of an image that is built; only its bases have sources to ask."""
        from sifmake.stages.build_locking import BuildLocker

        path = self._project.lock_path(image.name)

        def ask(base: ImageSettings, old: Lock | PrebuiltLock | None, digest: str) -> AnyLock:
            if not self._project.modes.offline:
                lock = self._make(base, old, digest)
                if digest not in ("", lock.digest):
                    what = f"was edited to {digest}, but {base.source.given} has {lock.digest}"
                    raise LockError(
                        what, where=str(path), hint=f"correct the digest, then run `sifmake lock {path.stem}`"
                    )
                return lock
            if old is None:
                hint = f"run `sifmake lock {image.name}` with a network"
                what = f"the lock does not have the base {base.source.given}, and the run is offline"
                raise LockError(what, where=str(path), hint=hint)
            return old

        usable = found.lock if found.lock is not None and is_for(found.lock, image) else None
        return BuildLocker(self._project, ask, self._lock_of, found.bases).make(image, usable)

    def _make_offline(self, image: ImageSettings, found: FoundLock, where: str) -> AnyLock:
        old, hint = found.lock, f"run `sifmake lock {image.name}` with a network"
        if old is None:
            raise LockError(
                f"{found.why}, and no registry can be asked because the run is offline", where=where, hint=hint
            )
        if not is_for(old, image):
            what = (
                f"is for {old.source.given} ({old.platform}), and no registry can be asked because the run is offline"
            )
            raise LockError(what, where=where, hint=hint)
        try:
            self._prove(image, old)
        except UnprovenError:
            if self._check:
                raise
        return old.with_build(self._project.wanted_build(image))

    def _ask(self, image: ImageSettings, usable: Lock | None, uri: Uri) -> Lock:
        """Return the lock of an image with layers."""
        project, build = self._project, self._project.wanted_build(image)
        if usable is not None and pinned_digest(image.source) == usable.digest and self._holds(image, usable):
            return usable.with_build(build)
        with self._answers.turn(_question(image, uri)) as told:
            uri = _pinned(uri, told.get("digest", ""))
            builder = project_builder(project, self._progress)
            source = builder.open_source(uri, build.compression)
            try:
                resolved = self._resolve(builder, source, image, usable, told)
                if usable is not None and self._is_same(image, usable, resolved, source):
                    return usable.with_build(build)
                loaded = builder.load_image(source, resolved.manifest_digest)
            finally:
                source.close()
        return Lock(
            source=image.source,
            name=source.name.partition("@")[0],
            digest=resolved.digest,
            platform=image.platform,
            manifest=resolved.manifest_digest,
            config=loaded.config_descriptor.digest,
            layers=tuple(
                LockedLayer(layer.descriptor.digest, layer.descriptor.size, layer.diff_id) for layer in loaded.layers
            ),
            build=build,
        )

    def _resolve(
        self, builder: Builder, source: Source, image: ImageSettings, usable: Lock | None, told: dict[str, Any]
    ) -> Resolved:
        """Ask which image a reference points to, unless this run has asked already."""
        project = self._project
        if isinstance(resolved := told.get("resolved"), Resolved):
            return resolved
        known = None
        if source.transport == "docker":
            known = _KnownFromLock(usable, project, name_note_key(source.name), trusting=self._building)
        resolved = builder.resolve(source, parse_platform(image.platform), known)
        told |= {"digest": resolved.digest} if source.transport == "docker" else {"resolved": resolved}
        return resolved

    def _ask_prebuilt(self, image: ImageSettings, usable: PrebuiltLock | None, uri: Uri) -> PrebuiltLock:
        """Return the lock of a prebuilt SIF file."""
        try:
            held = usable if usable is None or self._holds(image, usable) else None
        except UnprovenError as error:
            if not error.deleted:
                raise
            held = None
        with self._answers.turn(_question(image, uri)) as told:
            uri = _pinned(uri, told.get("mark", ""))
            return lock_prebuilt(self._project, image, held, uri, told)

    def _is_same(self, image: ImageSettings, usable: Lock, resolved: Resolved, source: Source) -> bool:
        """Tell whether a lock provably builds the image that its reference points to now.

        The image may be the same although the digest is older, if an index changed for other platforms only.
        """
        same = usable.manifest == resolved.manifest_digest
        if same and self._building and usable.digest == resolved.digest:
            return True
        if not same and not self._check:
            return False
        try:
            self._prove(image, usable, source)
        except UnprovenError as error:
            if same and self._check and not error.deleted:
                raise
            return False
        except LockError:
            if self._check:
                raise
            return False
        return same

    def _holds(self, image: ImageSettings, lock: AnyLock) -> bool:
        """Tell whether a lock is not disproved; if that is unknown now, the build checks again."""
        if self._building:
            return True
        try:
            self._prove(image, lock)
        except UnprovenError:
            if self._check:
                raise
        except LockError:
            if self._check:
                raise
            return False
        return True

    def _prove(self, image: ImageSettings, lock: AnyLock, source: Source | None = None) -> None:
        """Prove a lock as far as possible without its layers; see :class:`LockProof`."""
        project = self._project
        if isinstance(lock, PrebuiltLock):
            prove_finished(project, image.name, lock)
            return
        if isinstance(lock, BuildLock):
            return  # its bases are proven one by one
        builder, uri = project_builder(project), lock.source
        own = LazySource(lock.name, lambda: builder.open_source(uri, lock.build.compression))
        proof = LockProof(project, image.name, lock)
        try:
            proof.prove(source or own)
        finally:
            own.close()
        if (data := project.store.blobs.get(lock.manifest)) is not None:
            proof.check_manifest(data)


def _pinned(uri: Uri, digest: str) -> Uri:
    """Return an image URI with a digest, if its transport supports that and it does not have one."""
    registry = uri.transport in REGISTRY_TRANSPORTS
    return uri.pinned(digest) if digest and registry and not pinned_digest(uri) else uri


def _question(image: ImageSettings, uri: Uri) -> str:
    """Return a key for the question to a source; for a registry, the full name without the platform."""
    if uri.transport in REGISTRY_TRANSPORTS:
        return f"{uri.transport} {uri.reference.canonical}"
    return uri.given if uri.is_sif else f"{uri.given} {image.platform}"
