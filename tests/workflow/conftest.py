from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.counting_registry import CountingRegistry
from support.images import Blobs
from support.project import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def registry(blobs: Blobs) -> Iterator[CountingRegistry]:
    with CountingRegistry(blobs) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, registry: CountingRegistry) -> Folder:
    """A project whose registry speaks plain http."""
    folder = Folder(tmp_path / "project", tmp_path / "home")
    folder.config["registries"] = {registry.host: {"plain-http": True}}
    return folder
