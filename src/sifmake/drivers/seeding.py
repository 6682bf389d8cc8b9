"""Placing finished SIF files under the names that Snakemake uses for cached container images."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING

from sifmake.builder.image_signing import check_published
from sifmake.errors import LockError, SifmakeError
from sifmake.files import atomic_write, make_folders, replace_file, sha256_of
from sifmake.places import Place, output_place, telling_places
from sifmake.project.records import read_record
from sifmake.project.stage_table import STAGE_NAMES, TARGET
from sifmake.reference import parse_reference
from sifmake.stages.freshness import why_stale
from sifmake.temporaries import folder_beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sifmake.project.locks import AnyLock
    from sifmake.project.project import Project

_SUFFIX = ".simg"


def seed(project: Project, name: str, prefix: Path) -> Iterator[tuple[Path, str]]:
    """Place an image's SIF under every spelling of its source; yield each file and its image URI.

    Raises:
        SifmakeError: The image is not built, not up to date with its lock, was altered later, or does not verify.
    """
    lock = project.lock(name)
    target = project.path(TARGET, name)
    for stage in STAGE_NAMES:
        if why := why_stale(project, stage, name, lock):
            raise LockError(f"{stage} is not up to date: {why}", where=name, hint=f"run `doit pull_image:{name}` first")
    _check_bytes(project, name, target)
    # Anyone who can change the file can change its record, but not the signed parts.
    check_published(project, name)
    places = Place("the folder for seeded files", prefix), output_place(target)
    with telling_places(*places):
        make_folders(prefix)
    for spelling in _spellings(lock):
        path = prefix / f"{hashlib.md5(spelling.encode(), usedforsecurity=False).hexdigest()}{_SUFFIX}"
        with telling_places(*places):
            _put(target, path)
        yield path, spelling


def _spellings(lock: AnyLock) -> list[str]:
    """Return the URLs that name a lock's image: as configured, short, full, and with the digest."""
    if not lock.source.given.startswith("docker://"):
        return [lock.source.given]
    reference = parse_reference(lock.name)
    names = [reference.familiar, reference.canonical]
    names += [name.removesuffix(":latest") for name in names]
    names += [f"{name}@{lock.digest}" for name in names]
    return list(dict.fromkeys([lock.source.given, *(f"docker://{name}" for name in names)]))


def _check_bytes(project: Project, name: str, target: Path) -> None:
    record = read_record(project.record("publish", name))
    if record is None or record["result"]["sha256"] != f"sha256:{sha256_of(target)}":
        raise SifmakeError(
            "not the file that was published", where=str(target), hint="delete it and build the image again"
        )


def _put(target: Path, path: Path) -> None:
    """Link the file, or copy it if the prefix is on another file system."""
    if path.exists() and path.samefile(target):
        return
    try:
        with folder_beside(path) as folder:
            os.link(target, folder / path.name)
            replace_file(folder / path.name, path)
    except OSError:
        with target.open("rb") as source, atomic_write(path, 0o777) as copy:
            shutil.copyfileobj(source, copy)
