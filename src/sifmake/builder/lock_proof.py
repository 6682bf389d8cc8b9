"""Proof that a lock is consistent: what it builds follows from the reference and the digest that people review.

A lock's checksum has no key, so anyone who edits a lock can compute a matching one. Everything that can be derived is
therefore derived again: the manifest from the index, whose bytes have the digest; config and layers from the manifest.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sifmake.builder.image_cache import ImageCache
from sifmake.builder.indexes import KeptDocuments
from sifmake.errors import LockError, SifmakeError, SourceError, UsageError
from sifmake.oci.documents import Manifest, load_json, parse_descriptor, parse_document
from sifmake.oci.membership import UNKNOWN_SIZE, find_candidates
from sifmake.oci.model import Descriptor
from sifmake.oci.platform import is_served_by, parse_platform
from sifmake.project.lock_source import check_source, not_derived, refused
from sifmake.project.locks import BaseLock, Lock, PrebuiltLock

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.builder.indexes import DocumentSource
    from sifmake.oci.model import Image, Platform
    from sifmake.project.project import Project
    from sifmake.sources.base import Source

T = TypeVar("T")
L = TypeVar("L", Lock, PrebuiltLock)
_MOST_SIFS = 64
"""Most manifests that are read from an index of SIF files."""


class UnprovenError(LockError):
    """The documents that would prove a lock are not in the store, and cannot be fetched.

    Attributes:
        deleted: Whether the source answers but no longer has them.
    """

    deleted = False


class _Unavailable(Exception):  # noqa: N818 - never leaves the module
    """A document is not available. Not a SourceError, because that would mean a fault in the document."""

    def __init__(self, error: SifmakeError) -> None:
        super().__init__(str(error))
        self.error = error


class _Documents(KeptDocuments):
    """Documents from the store, else from the source; a failed download is not the same as a fault in one."""

    def manifest(self, descriptor: Descriptor) -> bytes:
        try:
            return super().manifest(descriptor)
        except SifmakeError as error:
            raise _Unavailable(error) from error


class _Proof(Generic[L]):
    """The common part of the proofs of both kinds of locks.

    Args:
        project: Provides store, limits and modes.
        name: Name of the image.
        lock: Lock of the image.
    """

    def __init__(self, project: Project, name: str, lock: L) -> None:
        self._project = project
        self._lock: L = lock
        self._where = str(project.lock_path(name))
        self._name = name
        self._from = lock.source

    def _if_possible(self, prove: Callable[[], None]) -> None:
        """Try a proof. If it is not possible, raise an error with a hint; if locks are trusted, only warn."""
        try:
            prove()
        except _Unavailable as unavailable:
            error = self._unproven(unavailable.error)
            if not self._project.modes.trust_lock:
                raise error from unavailable.error
            self._project.progress.warning(f"{error.where}: {error.what}; the lock is trusted anyway (trust-lock)")

    def _unproven(self, error: SifmakeError) -> UnprovenError:
        from sifmake.registry.error_responses import NotFoundError

        digest = self._lock.digest
        if isinstance(error, NotFoundError):
            found = UnprovenError(
                f"upstream has deleted {digest}, or never had it, and the lock cannot be proven without it",
                where=self._where,
                hint=f"run `sifmake lock {self._name}` to lock the current image, or trust the lock with --trust-lock",
            )
            found.deleted = True
            return found
        why = "and the run is offline" if self._project.modes.offline else f"and it cannot be fetched: {error}"
        return UnprovenError(
            f"the store lacks {digest}, which is needed to prove the lock, {why}",
            where=self._where,
            hint=f"run `sifmake lock --check {self._name}` with a network, or trust the lock with --trust-lock",
        )

    def _not_derived(self, why: str = "") -> LockError:
        return not_derived(self._lock, self._name, self._where, why)

    def _refuse(self, what: str) -> LockError:
        return refused(what, self._name, self._where)


class PrebuiltProof(_Proof[PrebuiltLock]):
    """Proves the lock of a prebuilt SIF file of a project."""

    def prove(self, source: DocumentSource) -> None:
        """Prove the lock of a prebuilt SIF file: the file follows from the digest.

        Args:
            source: An ``oras://`` source, for the manifest if the store lacks it.

        Raises:
            LockError: As :meth:`LockProof.prove`.
        """
        check_source(self._lock, self._name, self._where)
        lock = self._lock
        if self._from.transport == "oras":
            if lock.mark != lock.digest:
                raise self._not_derived()
            self._if_possible(lambda: self._prove_artifact(source))

    def _prove_artifact(self, source: DocumentSource) -> None:
        """Prove that a SIF file is a layer of the artifact, or of one in an index of artifacts."""
        documents = _Documents(self._project.store, source)
        try:
            root = load_json(documents.manifest(Descriptor("", self._lock.digest, UNKNOWN_SIZE)))
            nested = (Descriptor("", digest, UNKNOWN_SIZE) for digest in _digests(root, "manifests")[:_MOST_SIFS])
            manifests = chain([root], (load_json(documents.manifest(one)) for one in nested))
            if any(self._lock.file in _digests(manifest, "layers") for manifest in manifests):
                return
        except SourceError as error:
            raise self._not_derived(str(error)) from None
        raise self._not_derived()


class LockProof(_Proof[Lock]):
    """Proves the lock of an image of a project."""

    def prove(self, source: Source) -> None:
        """Prove that the manifest follows from the digest; documents that are fetched for it are kept in the store.

        Args:
            source: Provides documents that the store lacks, by digest.

        Raises:
            LockError: It does not follow.
            UnprovenError: The proof is not possible, and locks are not trusted.
        """
        check_source(self._lock, self._name, self._where)
        daemon = self._from.transport == "docker-daemon"
        self._if_possible(lambda: self._prove_daemon(source) if daemon else self._prove(source))

    def check_manifest(self, data: bytes) -> None:
        """Compare config and layers with the manifest's.

        Raises:
            LockError: They differ.
        """
        document = parse_document(data)
        if not isinstance(document, Manifest):
            raise self._not_derived()
        if isinstance(self._lock, BaseLock):
            return
        config, layers = document.config.digest, [(layer.digest, layer.size) for layer in document.layers]
        lock = self._lock
        if (lock.config, [(layer.digest, layer.size) for layer in lock.layers]) != (config, layers):
            raise self._refuse("has another config or other layers than its manifest")

    def check_image(self, image: Image) -> None:
        """Compare the lock with the image: config, layers, and the platform where no index names one.

        Raises:
            LockError: They do not follow from the manifest.
        """
        self.check_manifest(image.manifest)
        lock = self._lock
        told = () if isinstance(lock, BaseLock) else zip(lock.layers, image.layers, strict=True)
        if any(locked.diff_id not in ("", layer.diff_id) for locked, layer in told):
            raise self._refuse("has other DiffIDs than its config")
        if lock.digest == lock.manifest and not is_served_by(image.config.platform, self._platform):
            raise self._refuse(f"is for {lock.platform}, but the image is for {image.config.platform}")

    @property
    def _platform(self) -> Platform:
        try:
            return parse_platform(self._lock.platform)
        except UsageError as error:
            raise self._refuse(f"has an invalid platform: {error.what}") from None

    def _prove(self, source: Source) -> None:
        lock, project = self._lock, self._project
        if lock.digest == lock.manifest:
            return
        documents = _Documents(project.store, source)
        try:
            found = find_candidates(lock.digest, self._platform, documents, project.configuration.limits)
        except SourceError as error:
            raise self._not_derived(str(error)) from None
        if lock.manifest not in found.manifests:
            raise self._not_derived()
        if found.by_config:
            image = _available(lambda: ImageCache(project.store).load(source, lock.manifest))
            if not is_served_by(image.config.platform, self._platform):
                raise self._not_derived(f"that image is for {image.config.platform}")

    def _prove_daemon(self, source: Source) -> None:
        """Prove a lock of an engine's image: its digest is the image's ID.

        The ID is the digest of the config, from which the manifest is made. If the engine keeps manifests, the ID is
        the digest of one of them, and only the engine knows which image it exports for it.
        """
        lock, store, platform = self._lock, self._project.store, self._platform
        image = _available(lambda: ImageCache(store).load(source, lock.manifest))
        plain = all(layer.descriptor.digest == layer.diff_id for layer in image.layers)
        if plain and image.config_descriptor.digest == lock.digest:
            return
        if store.blobs.find_manifest(lock.digest, platform) == lock.manifest:
            return
        resolved = _available(lambda: source.resolve(platform))
        if (resolved.digest, resolved.manifest_digest) != (lock.digest, lock.manifest):
            raise self._not_derived("the engine has another image")
        store.blobs.remember_manifest(lock.digest, platform, lock.manifest)


def _available(read: Callable[[], T]) -> T:
    try:
        return read()
    except SifmakeError as error:
        raise _Unavailable(error) from error


def _digests(document: dict[str, Any], key: str) -> list[str]:
    items = document.get(key)
    return [parse_descriptor(item).digest for item in items] if isinstance(items, list) else []
