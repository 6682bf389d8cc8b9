"""Images of a project that are prebuilt SIF files: locked by their SHA-256, fetched, and signed or verified.

The mark in the lock of such a file is what its source says about it without sending it, so that the next check needs no
transfer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sifmake.builder.builder import project_builder
from sifmake.builder.checked_sif import add_checked, find_checked
from sifmake.builder.fetch_sif import fetch_whole
from sifmake.builder.indexes import KeptDocuments
from sifmake.builder.older_sifs import older_file, older_of_key
from sifmake.errors import IntegrityError, SifError, SourceError
from sifmake.oci.membership import UNKNOWN_SIZE
from sifmake.oci.model import Descriptor
from sifmake.oci.platform import parse_platform
from sifmake.places import results_place, store_place
from sifmake.project.locks import PrebuiltLock
from sifmake.project.stage_table import UNSIGNED
from sifmake.reference.uri import FILE, Uri
from sifmake.room import Need, check_room
from sifmake.sif import open_sif
from sifmake.sif.format import arch_name
from sifmake.store.scratch import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sifmake.places import Place
    from sifmake.project.images import ImageSettings
    from sifmake.project.project import Project
    from sifmake.sources.base import SifSource
    from sifmake.sources.oras import OrasSource


def lock_prebuilt(
    project: Project, image: ImageSettings, old: PrebuiltLock | None, uri: Uri, told: dict[str, Any]
) -> PrebuiltLock:
    """Return the lock of the prebuilt SIF file that its source has now.

    Args:
        project: Provides settings and store.
        image: The image.
        old: The present lock, if it has the same source and platform.
        uri: URI of the image, perhaps pinned to a digest.
        told: Answers of the source in this run; new answers are added.

    Raises:
        SourceError: There is no such file, or it is for another platform.
        SifError: The file is damaged.
    """
    build = project.wanted_build(image)
    older = (older_of_key(project.store, _key(old.file)),) if old is not None else ()
    source = _open(project, uri, image.platform, older)
    by_digest = source.transport == "oras"
    # An index in a registry has a different file for each platform.
    answer = f"digest for {image.platform}" if by_digest else "digest"
    try:
        if "mark" not in told:
            told["mark"] = source.resolve() or ""
        mark: str = told["mark"]
        if old is not None and mark and old.mark == mark:
            told[answer] = old.file
            return old.with_build(build)
        local = _local_path(project, uri)
        path, digest = (local, mark) if local else _fetched_once(project, source, uri, told, answer)
        if by_digest:
            documents = KeptDocuments(project.store, cast("OrasSource", source))
            documents.manifest(Descriptor("", mark, UNKNOWN_SIZE))
    finally:
        source.close()
    name = source.name.partition("@")[0] if by_digest else source.name
    _check_platform(path, image)
    lock = PrebuiltLock(
        source=image.source,
        name=name,
        digest=mark if by_digest else digest,
        platform=image.platform,
        file=digest,
        size=path.stat().st_size,
        mark=mark,
        build=build,
    )
    prove_finished(project, image.name, lock)
    return lock


def prove_finished(project: Project, name: str, lock: PrebuiltLock) -> None:
    """Prove that the file of a lock follows from its digest; see :class:`PrebuiltProof`.

    Raises:
        LockError: It does not.
        UnprovenError: The proof is not possible.
    """
    from sifmake.builder.lock_proof import PrebuiltProof

    PrebuiltProof(project, name, lock).prove(_Manifests(project, lock.name))


class _Manifests:
    """The manifests of a SIF file in a registry, by digest; fetched on demand."""

    def __init__(self, project: Project, name: str) -> None:
        self._project = project
        self._name = name

    def document(self, digest: str) -> bytes:
        source = cast("OrasSource", _open(self._project, Uri("oras", f"{self._name}@{digest}")))
        try:
            return source.document(digest)
        finally:
            source.close()


def _fetched_once(project: Project, source: SifSource, uri: Uri, told: dict[str, Any], answer: str) -> tuple[Path, str]:
    """Fetch a file unless this run has fetched it; if it is fetched again, it must be the same file."""
    expected: str = told.get(answer, "")
    stored = find_checked(project.store, _key(expected)) if expected else None
    if stored is not None:
        stored.close()
        return stored.path, expected
    path, told[answer] = _fetched(project, source, uri, expected)
    return path, told[answer]


def _check_platform(path: Path, image: ImageSettings) -> None:
    with open_sif(path) as sif:
        found = arch_name(sif.header.arch)
    wanted = parse_platform(image.platform).architecture
    if found not in {wanted, "unknown"}:
        hint = f"write 'platform: linux/{found}' if that is intended"
        raise SourceError(f"the file is for {found}, not for {wanted}", where=image.source.given, hint=hint)


def have_locked(project: Project, name: str, lock: PrebuiltLock) -> None:
    """Check that the file is available: fetch it into the store, or find the local file.

    Raises:
        SourceError: It is not available.
        IntegrityError: It is not the file that was locked.
    """
    prove_finished(project, name, lock)
    if _local_path(project, lock.source) is None:
        stored_file(project, name, lock)
    else:
        _open(project, lock.source, lock.platform).close()


def copy_locked(project: Project, name: str, lock: PrebuiltLock, target: Path) -> None:
    """Copy the file of a lock to ``target``.

    Raises:
        IntegrityError: It is not the file that was locked.
    """
    prove_finished(project, name, lock)
    try:
        _copy_locked(project, name, lock, target)
    except IntegrityError:
        hint = f"run `sifmake lock {name}`"
        raise IntegrityError("the file is not the one that was locked", where=lock.source.given, hint=hint) from None


def _copy_locked(project: Project, name: str, lock: PrebuiltLock, target: Path) -> None:
    """Copy the file; if the one in the store is damaged, fetch it again first."""
    local = _local_path(project, lock.source)
    if local is not None:
        _copy(project, local, target, lock.file)
        return
    path = stored_file(project, name, lock)
    try:
        _copy(project, path, target, lock.file)
    except (SourceError, SifError):
        project.progress.warning(f"{path} is damaged; it will be downloaded again")
        project.store.sifs.drop(path)
        _copy(project, stored_file(project, name, lock), target, lock.file)


def _copy(project: Project, path: Path, target: Path, digest: str) -> None:
    from sifmake.sources.opening import open_sif_source

    source = open_sif_source(Uri(FILE, str(path)), project_builder(project).settings)
    try:
        source.fetch(target, digest, lambda size: check_room([Need(results_place(target), size)]))
    finally:
        source.close()


def stored_file(project: Project, name: str, lock: PrebuiltLock) -> Path:
    """Return the path of the file in the store; fetched now if it is not there and there is room for it and its copy.

    Raises:
        SourceError: It is not available.
        IntegrityError: It is not the file that was locked.
    """
    found = find_checked(project.store, _key(lock.file))
    if found is not None:
        found.close()
        return found.path
    uri = Uri("oras", lock.image) if lock.source.transport == "oras" else lock.source
    source = _open(project, uri, lock.platform, (older_file(project.path(UNSIGNED, name)),))
    try:
        copy = results_place(project.path(UNSIGNED, name))
        return _fetched(project, source, uri, lock.file, copy)[0]
    finally:
        source.close()


def _fetched(project: Project, source: SifSource, uri: Uri, expected: str = "", *outputs: Place) -> tuple[Path, str]:
    """Fetch a file into the store; return its path and its SHA-256."""
    store = project.store
    places = (store_place(store.root), *outputs)
    with store.scratch_folder() as scratch:
        path = path_of(scratch) / "fetched.sif"
        digest = fetch_whole(source, path, uri.given, expected, outputs=places)
        found = add_checked(store, _key(digest), path.replace)
        found.close()
        return found.path, digest


def _open(project: Project, uri: Uri, platform: str = "", older: Sequence[Callable[[], int | None]] = ()) -> SifSource:
    wanted = parse_platform(platform) if platform else None
    return project_builder(project).open_sif_source(uri, wanted, older)


def _local_path(project: Project, uri: Uri) -> Path | None:
    """Return the path of a local file; relative paths start from the project's folder."""
    return project.root / uri.rest if uri.transport == FILE else None


def _key(digest: str) -> str:
    return f"{digest.partition(':')[2]}-finished"
