"""Check that a lock is up to date with the project, without asking any registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sifmake.project.locks import AnyLock
    from sifmake.project.project import Project


def check_lock(project: Project, name: str) -> AnyLock:
    """Return the lock of an image if it matches the configuration, and the definition if the image has one.

    Raises:
        LockError: It does not match, or there is none.
        SifmakeError: The definition cannot be read.
    """
    image = project.image(name)
    lock = project.check_lock(image)
    if image.definition is not None:
        from sifmake.stages.build_locking import check_inputs

        check_inputs(project, image, lock)
    return lock
