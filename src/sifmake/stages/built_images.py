"""Images of a project that are built, opened to be given back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sifmake.builder.builder import project_builder
from sifmake.builder.built_export import OpenedBuild
from sifmake.errors import SifmakeError
from sifmake.oci.platform import parse_platform
from sifmake.stages.definition_session import DefinitionSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.project.locks import BuildLock
    from sifmake.project.project import Project


@contextmanager
def open_built(project: Project, name: str, lock: BuildLock) -> Iterator[OpenedBuild]:
    """Open an image that is built; a step runs only if the store lacks its layer, sections of the host never.

    Args:
        project: The project.
        name: Name of the image.
        lock: Its lock.

    Raises:
        LockError: The lock is out of date.
        SifmakeError: The image cannot be built.
    """
    session = DefinitionSession(project, name, lock)
    try:
        try:
            built = session.build()
        except SifmakeError as error:
            raise error.within(name) from None
        yield OpenedBuild(project_builder(project), built, parse_platform(lock.platform), lock.build.compression)
    finally:
        session.close()
