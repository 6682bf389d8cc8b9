"""What the tests of the public API share: the hello image, a registry, and a program that was built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import sifmake
from support.hello import HELLO
from support.registry import FakeRegistry, Uploads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "configuration"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def hello(tmp_path: Path) -> sifmake.SifFile:
    return sifmake.pull(HELLO, tmp_path / "hello.sif")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        Uploads(running)
        yield running
