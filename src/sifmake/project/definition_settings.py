"""Settings of images that are built: from a definition file, a root file system, or an OCI bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from sifmake.files import read_regular
from sifmake.reference.uri import FILE, SIF_SUFFIXES, Uri

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUILT = "build"
"""Transport of the source of an image that is built."""
_BUNDLE = "bundle:"
KEYS = ("build-args", "network", "clean", "cache-for")
"""Keys of ``images.yaml`` that only these images have."""
_MAGIC, _MAGIC_AT = b"SIF_MAGIC", 32


@dataclass(frozen=True)
class DefinitionSettings:
    """How one image is built.

    Attributes:
        arguments: Values for ``{{ NAME }}`` in the definition.
        network: ``host`` or ``none``, for ``%post``.
        clean: Profiles of files that ``%post`` leaves and that are left out, sorted.
        cache_for: How long the results of steps are used, for example ``7d``; empty for no limit.
    """

    arguments: dict[str, str] = field(default_factory=dict)
    network: str = "host"
    clean: tuple[str, ...] = ()
    cache_for: str = ""


def built_source(text: str, root: Path) -> Uri | None:
    """Return the source of an image that is built; None for an image that is pulled or a prebuilt SIF file.

    Args:
        text: ``from:`` in ``images.yaml``.
        root: Folder of the project, from which relative paths start.
    """
    if text.startswith(_BUNDLE):
        return Uri(BUILT, text, text)
    if not text.startswith(("/", "./", "../")) or text.endswith(SIF_SUFFIXES) or _is_sif(root / text):
        return None
    return Uri(BUILT, text, text)


def path_of_source(source: Uri, root: Path) -> Path | None:
    """Return the file or folder of a source on this machine; None if it is somewhere else."""
    if source.transport == BUILT:
        return root / source.rest.removeprefix(_BUNDLE)
    return root / source.rest if source.transport == FILE else None


def _is_sif(path: Path) -> bool:
    """Whether a file without the suffix is a SIF file."""
    try:
        return read_regular(path, _MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return False


def definition_settings(given: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], DefinitionSettings]]:
    """Yield the settings of each image of an entry, with the parts that its name gets.

    An argument with a list of values makes an image for each value; several of them make one for each combination.

    Args:
        given: The entry of ``images.yaml``, with the defaults.
    """
    arguments: dict[str, Any] = given.get("build-args") or {}
    lists = {name: values for name, values in arguments.items() if isinstance(values, list)}
    for choice in product(*lists.values()):
        chosen = {**arguments, **dict(zip(lists, choice, strict=True))}
        settings = DefinitionSettings(
            arguments=chosen,
            network=given.get("network", "host"),
            clean=tuple(sorted(set(given.get("clean", ())))),
            cache_for=given.get("cache-for", ""),
        )
        yield tuple(value.lower() for value in choice), settings
