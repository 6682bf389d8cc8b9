"""A build ends at any of its changing calls, as by SIGKILL: no target is half done, the next run gives the same bytes.

CI tries 30 calls, spread over the build; ``SIFMAKE_RELIABILITY=long`` all.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from typing import TYPE_CHECKING

import pytest

from sifmake.project.project import Project
from sifmake.project.stage_table import STAGE_NAMES, TARGET
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from support.faults import pull_image, sync_often, write_image
from support.injector import Injector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONG = os.environ.get("SIFMAKE_RELIABILITY") == "long"
POINTS = 30


class Killer(Injector):
    """Ends the process at a call; 0 for never."""

    def __init__(self, at: int = 0) -> None:
        super().__init__()
        self._at = at
        self._numbers = itertools.count(1)
        self.calls = 0

    def meet(self, _call: str, _path: object = None) -> None:
        self.calls = next(self._numbers)
        if self.calls == self._at:
            os._exit(9)


def killed(work: Callable[[], object], at: int) -> bool:
    """Do work in a process that ends at a call; return whether it got there."""
    child = os.fork()
    if not child:
        status = 1
        try:
            with Killer(at).installed():
                work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def calls_of(work: Callable[[], object]) -> int:
    killer = Killer()
    with killer.installed():
        work()
    return killer.calls


def points(total: int) -> list[int]:
    return list(range(1, total + 1)) if LONG else sorted({1 + total * n // POINTS for n in range(POINTS)})


@pytest.fixture
def uri(tmp_path, monkeypatch):
    sync_often(monkeypatch, 100_000)
    monkeypatch.setattr("sifmake.assembly.patches.LEAST", 1)
    return write_image(tmp_path / "image", 400_000)


def test_a_pull_that_was_killed(tmp_path, uri):
    def work(folder: Path) -> None:
        pull_image(uri, folder / "a.sif", folder / "store")

    total = calls_of(lambda: work(tmp_path / "calm"))
    good = (tmp_path / "calm" / "a.sif").read_bytes()
    reached = 0
    for at in points(total):
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / "a.sif").write_bytes(b"old")
        reached += killed(lambda folder=folder: work(folder), at)
        assert (folder / "a.sif").read_bytes() in (b"old", good), at
        work(folder)
        assert (folder / "a.sif").read_bytes() == good, at
    assert reached * 10 > 9 * len(points(total))


@pytest.mark.parametrize("kind", ["image", "definition"])
def test_a_build_that_was_killed_and_resumed_gives_the_same_bytes(tmp_path, uri, kind):
    uri = uri if kind == "image" else "./tool.def"

    def prepare(folder: Path) -> None:
        (folder / "config").mkdir(parents=True)
        (folder / "tree").mkdir()
        (folder / "tree" / "big").write_bytes(random.Random(16).randbytes(300_000))
        (folder / "tool.def").write_text("Bootstrap: localimage\nFrom: ./tree\n\n%files\n    tree /copy\n")
        (folder / "config" / "config.yaml").write_text(json.dumps({"store": {"path": "store"}}))
        (folder / "config" / "images.yaml").write_text(json.dumps({"images": {"a": {"from": uri}}}))

    def work(folder: Path) -> None:
        LockRefresher(Project(folder)).refresh("a")
        with open_runner(Project(folder)) as runner:
            for stage in STAGE_NAMES:
                runner.run(stage, "a")

    prepare(tmp_path / "calm")
    total = calls_of(lambda: work(tmp_path / "calm"))
    good = Project(tmp_path / "calm").path(TARGET, "a").read_bytes()
    reached = 0
    for at in points(total):
        folder = tmp_path / str(at)
        prepare(folder)
        target = Project(folder).path(TARGET, "a")
        reached += killed(lambda folder=folder: work(folder), at)
        assert not target.exists() or target.read_bytes() == good, at
        work(folder)
        assert target.read_bytes() == good, at
        with open_runner(Project(folder)) as runner:
            assert not any(runner.run(stage, "a") for stage in STAGE_NAMES), at
    assert reached * 10 > 9 * len(points(total))
