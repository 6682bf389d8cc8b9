"""Which key signs a project's images, and which keys are trusted."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sifmake.pipeline.configuration import DEVELOPMENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sifmake.pipeline.configuration import Configuration


def key_identity(configuration: Configuration) -> str:
    """Return what names the signing key in locks: its fingerprint, ``development``, or empty for none.

    The development key is another one on each machine, so a committed lock names it by that word only.
    """
    return configuration.key


def trusted_files(configuration: Configuration) -> Iterator[Path]:
    """Yield the files of public keys that the configuration trusts, sorted."""
    for path in configuration.trusted_keys:
        if path.is_dir():
            yield from sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        else:
            yield path


def trust_digest(configuration: Configuration) -> str:
    """Return a digest that changes when another set of keys is trusted."""
    total = hashlib.sha256()
    for path in trusted_files(configuration):
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return f"sha256:{total.hexdigest()}"


def is_development(configuration: Configuration) -> bool:
    """Tell whether signatures are by the key that every machine makes for itself."""
    return configuration.key == DEVELOPMENT
