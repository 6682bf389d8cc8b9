"""What is on the disk if the power fails, by the order of writes, syncs and new names.

A write is safe once its file was synced, a new name once its folder was. What is not safe may be there after a power
failure or not, in any order. So nothing may get its final name before its bytes are safe, and no record may be written
before the name of the file that it stands for is safe. At the end everything is.
"""

from __future__ import annotations

import io
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sifmake.cli.main import main
from sifmake.drivers.seeding import seed
from sifmake.project.project import Project
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from sifmake.stages.stage import all_stages
from sifmake.temporaries import TEMP_PREFIX
from support.faults import pull_image, sync_often, write_image
from support.signing import pem_pair

STAGES = all_stages()

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORDS = {f"{stage.name}.json": [Path(big).name for big in stage.big] for stage in STAGES if stage.big}
"""Records and the files that they stand for."""


class Disk:
    """A disk that forgets what was not synced.

    Attributes:
        unsafe: Inodes that were written to since they were synced.
        names: New names that are not safe yet, by the inode of their folder.
        wrong: What a power failure could have shown.
    """

    def __init__(self) -> None:
        self.unsafe: set[tuple[int, int]] = set()
        self.names: dict[tuple[int, int], set[str]] = {}
        self.wrong: list[str] = []

    def wrote(self, fd: int) -> None:
        self.unsafe.add(inode(os.fstat(fd)))

    def synced(self, fd: int) -> None:
        self.unsafe.discard(inode(os.fstat(fd)))
        self.names.pop(inode(os.fstat(fd)), None)

    def named(self, path: Path) -> None:
        """Take note of a new name."""
        if inode(path.lstat()) in self.unsafe and not path.name.startswith(TEMP_PREFIX):
            self.wrong.append(f"{path} has its name before its bytes are safe")
        for big in RECORDS.get(path.name, ()):
            beside = path.with_name(big)
            if beside.exists() and self.is_new(beside):
                self.wrong.append(f"{path} is there before {beside}")
        self.names.setdefault(inode(path.parent.stat()), set()).add(path.name)

    def is_new(self, path: Path) -> bool:
        return path.name in self.names.get(inode(path.parent.stat()), ())

    def gone(self, path: Path) -> None:
        """Take note of a name that is not there any more."""
        self.names.get(inode(path.parent.stat()), set()).discard(path.name)

    def left(self, top: Path) -> list[str]:
        """Return what is not safe yet in a folder."""
        paths = [path for path in top.rglob("*") if not path.is_symlink()]
        found = [f"bytes of {path}" for path in paths if path.is_file() and inode(path.stat()) in self.unsafe]
        return found + [f"name of {path}" for path in paths if self.is_new(path)]


def inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def place(path: Any, folder: int | None) -> Path:
    """Return where a name stands that is given relative to an open folder."""
    text = os.fsdecode(path)
    return Path(os.readlink(f"/proc/self/fd/{folder}"), text) if folder is not None else Path(text)


class _Raw(io.FileIO):
    """A file whose writes the disk is told."""

    disk: Disk

    def write(self, data: Any) -> int:
        self.disk.wrote(self.fileno())
        return super().write(data)


def after(real: Callable[..., Any], tell: Callable[..., None]) -> Callable[..., Any]:
    """Return a function that tells of each call once it is done."""

    def call(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        tell(*arguments, **options)
        return result

    return call


def opening(disk: Disk, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(fd: int, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if "b" not in mode or not set(mode) & set("wax+"):
            return real(fd, mode, *arguments, **options)
        raw = _Raw(fd, mode.replace("b", ""))
        raw.disk = disk
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

    return call


@contextmanager
def watched() -> Iterator[Disk]:
    """Tell a disk of everything that is done to files while the block runs."""
    disk = Disk()

    def moved(source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        disk.gone(place(source, src_dir_fd))
        disk.named(place(target, dst_dir_fd))

    tell: dict[str, Callable[..., None]] = {
        "fsync": disk.synced,
        "fdatasync": disk.synced,
        "pwrite": lambda fd, *_: disk.wrote(fd),
        "ftruncate": lambda fd, *_: disk.wrote(fd),
        "copy_file_range": lambda _, fd, *__: disk.wrote(fd),
        "rename": moved,
        "replace": moved,
        "link": lambda _, path, **options: disk.named(place(path, options.get("dst_dir_fd"))),
        "mkdir": lambda path, *_, dir_fd=None: disk.named(place(path, dir_fd)),
        "unlink": lambda path, *, dir_fd=None: disk.gone(place(path, dir_fd)),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, told in tell.items():
            patch.setattr(os, name, after(getattr(os, name), told))
        patch.setattr(os, "fdopen", opening(disk, os.fdopen))
        yield disk


@pytest.fixture
def uri(tmp_path, monkeypatch):
    sync_often(monkeypatch)
    monkeypatch.setattr("sifmake.assembly.patches.LEAST", 1)
    return write_image(tmp_path / "image", 500_000)


def test_a_pull_into_new_folders_is_safe_when_it_ends(tmp_path, uri):
    top = tmp_path / "new"
    with watched() as disk:
        pull_image(uri, top / "images" / "deep" / "a.sif", top / "stores" / "mine")
    assert disk.wrong == []
    assert disk.left(tmp_path) == []
    assert (top / "images" / "deep" / "a.sif").exists()


@pytest.mark.parametrize("key", [True, False])
def test_no_record_is_there_before_its_file_is_safe(tmp_path, uri, key):
    folder = tmp_path / "project"
    (folder / "config").mkdir(parents=True)
    options = {"store": {"path": "store"}}
    if key:
        keys = pem_pair(tmp_path)
        options |= {"key": str(keys.secret), "trusted-keys": [str(keys.public)]}
    (folder / "config" / "config.yaml").write_text(json.dumps(options))
    (folder / "config" / "images.yaml").write_text(json.dumps({"images": {"a": {"from": uri}}}))
    with watched() as disk:
        LockRefresher(Project(folder)).refresh("a")
        for stage in STAGES:
            with open_runner(Project(folder)) as runner:
                runner.run(stage.name, "a")
        with open_runner(Project(folder)) as runner:
            runner.run("sign", "a", force=True)
            runner.run("publish", "a")
        assert list(seed(Project(folder), "a", folder / "seeded" / "deep"))
    assert disk.wrong == []
    assert disk.left(folder) == []


def test_a_new_key_is_safe(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "keys"))
    with watched() as disk:
        assert main(["-q", "key", "newpair", "mine"]) == 0
    assert disk.wrong == []
    assert disk.left(tmp_path) == []
