"""The order in which the images of a project are built: an image comes after those from which it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import SifmakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.project.project import Project


def bases_or_none(project: Project, name: str) -> tuple[str, ...]:
    """Return the images of the project from which an image is built; none if its definition cannot be read."""
    if project.images[name].definition is None:
        return ()
    from sifmake.stages.definition_inputs import base_images

    try:
        return base_images(project, name)
    except SifmakeError:
        return ()


def with_bases(project: Project, names: list[str]) -> list[str]:
    """Return images, and the images of the project from which they are built."""
    found: dict[str, None] = {}
    while names:
        found |= dict.fromkeys(names)
        names = [base for name in names for base in bases_or_none(project, name) if base not in found]
    return list(found)


def in_order(project: Project) -> Iterator[list[str]]:
    """Yield all images in groups; each is built only from images of earlier groups.

    Images that are built from each other come last, because their locks cannot be made anyway.
    """
    bases = {name: set(bases_or_none(project, name)) for name in project.images}
    while bases:
        ready = [name for name, needed in bases.items() if not needed & bases.keys()] or list(bases)
        yield ready
        for name in ready:
            del bases[name]
