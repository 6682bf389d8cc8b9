"""What is on the disk if the power fails, by the order of writes, syncs and new names.

A write is safe once its file was synced, a new name once its folder was. What is not safe may be there after a power
failure or not, in any order. So nothing may get its final name before its bytes are safe, and no record may be written
before the name of the file that it stands for is safe. At the end everything is: targets, store, records, locks,
keys, logs and seeded files. (doit keeps no database.) A long run leaves out each sync in turn, and something is unsafe.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from sifmake.builder.run_cache import ImageToRun, find_or_build
from sifmake.cli.main import main
from sifmake.drivers.new_project import start_project
from sifmake.drivers.rebuild import rebuild
from sifmake.drivers.seeding import seed
from sifmake.progress import Silent
from sifmake.project.project import Project
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from sifmake.stages.stage import all_stages
from sifmake.temporaries import TEMP_PREFIX
from support.faults import pull_image, sync_often, write_image
from support.signing import pem_pair
from support.signing import write_sif as write_small_sif

LONG = os.environ.get("SIFMAKE_RELIABILITY") == "long"
STAGES = all_stages()

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.signing import KeyPair

RECORDS = {f"{stage.name}.json": [Path(big).name for big in stage.big] for stage in STAGES if stage.big}
"""Records and the files that they stand for."""


class Disk:
    """A disk that forgets what was not synced.

    Attributes:
        unsafe: Inodes that were written to since they were synced.
        names: New names that are not safe yet, by the inode of their folder.
        wrong: What a power failure could have shown.
        syncs: Who asked for syncs.
    """

    def __init__(self) -> None:
        self.syncs: set[Sync] = set()
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
    """A file that reports its writes to the disk."""

    disk: Disk

    def write(self, data: Any) -> int:
        self.disk.wrote(self.fileno())
        return super().write(data)


def after(real: Callable[..., Any], tell: Callable[..., None]) -> Callable[..., Any]:
    """Return a function that reports each call after it is done."""

    def call(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        tell(*arguments, **options)
        return result

    return call


def opening(disk: Disk, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+") or str(file).startswith("/dev/"):
            return real(file, mode, *arguments, **options)
        is_new = not isinstance(file, int) and not os.path.exists(file)
        raw = _Raw(file, mode.replace("b", ""), opener=options.get("opener"))
        raw.disk = disk
        if is_new and not str(file).endswith(".lock"):  # what is in a lock file does not count
            disk.named(Path(file))
        bytes_ = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return bytes_ if "b" in mode else io.TextIOWrapper(bytes_, encoding="utf-8")

    return call


@contextmanager
def watched(forgotten: Sync | None = None) -> Iterator[Disk]:
    """Tell a disk of everything that is done to files while the block runs.

    Args:
        forgotten: Where a sync is left out.
    """
    disk = Disk()

    def moved(source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        disk.gone(place(source, src_dir_fd))
        disk.named(place(target, dst_dir_fd))

    def synced(fd: int) -> None:
        where = syncing()
        disk.syncs.add(where)
        if where != forgotten:
            disk.synced(fd)

    tell: dict[str, Callable[..., None]] = {
        "fsync": synced,
        "fdatasync": synced,
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
        patch.setattr(io, "open", opening(disk, io.open))
        yield disk


Sync = tuple[str, bool]
"""A function that asks for a sync, and whether of a folder."""


def syncing() -> Sync:
    """Return who asks for the sync that is being done."""
    frame = sys._getframe(3)
    of_folder = False
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("sifmake."):
            if frame.f_code.co_name not in ("fsync_folder", "sync"):
                return f"{name}.{frame.f_code.co_qualname}", of_folder
            of_folder = True
        frame = frame.f_back  # type: ignore[assignment]
    return "", of_folder


class Place(NamedTuple):
    """Where a scenario works.

    Attributes:
        top: Its folder, in which all must be safe at the end.
        uri: An image.
        keys: A pair of keys.
    """

    top: Path
    uri: str
    keys: KeyPair


def pull_into_new_folders(place: Place) -> None:
    new = place.top / "new"
    pull_image(place.uri, new / "images" / "deep" / "a.sif", new / "stores" / "mine")


def configure(place: Place, name: str, **options: object) -> None:
    """Write a project; this is the user's work, and not watched."""
    folder = place.top / name
    (folder / "config").mkdir(parents=True)
    (folder / "sifmake.yaml").write_text(json.dumps({"store": {"path": "store"}, **options}))
    (folder / "config" / "images.yaml").write_text(json.dumps({"images": {"a": {"from": place.uri}}}))


def build(place: Place, name: str = "project") -> None:
    """Build stage by stage, sign again what is finished, seed it, and build it once more as schedules do."""
    folder = place.top / name
    LockRefresher(Project(folder)).refresh("a")
    for stage in STAGES:
        with open_runner(Project(folder)) as runner:
            runner.run(stage.name, "a")
    with open_runner(Project(folder)) as runner:
        runner.run("sign", "a", force=True)
        runner.run("publish", "a")
    assert list(seed(Project(folder), "a", folder / "seeded" / "deep"))
    shutil.rmtree(folder / "results")
    assert rebuild(Project(folder), 1)


def build_signed(place: Place) -> None:
    build(place, "signed")


def command(*words: str) -> None:
    assert main(["--debug", "-q", *words]) == 0


def make_a_key(place: Place) -> None:
    command("key", "newpair", "mine")


def sign_in_place(place: Place) -> None:
    command("sign", "--key", str(place.keys.secret), str(place.top / "a.sif"))


def run_and_exchange(place: Place) -> None:
    """Run an image by its URI; take what the store has of it into another one."""
    find_or_build(ImageToRun(place.uri), Silent()).close()
    command("cache", "export", str(place.top / "x.tar"))
    os.environ["SIFMAKE_CACHE"] = str(place.top / "other")
    command("cache", "import", str(place.top / "x.tar"))


def start_a_project(place: Place) -> None:
    start_project(place.top / "started")


SCENARIOS = [
    pull_into_new_folders,
    build,
    build_signed,
    make_a_key,
    sign_in_place,
    run_and_exchange,
    start_a_project,
]


@pytest.fixture
def room(tmp_path, monkeypatch):
    """Return a function that runs a scenario in a new folder and returns the disk and what was not safe."""
    sync_often(monkeypatch)
    monkeypatch.setattr("sifmake.assembly.patches.LEAST", 1)
    uri, keys, numbers = write_image(tmp_path / "image", 500_000), pem_pair(tmp_path), itertools.count()

    def run(scenario: Callable[[Place], None], forgotten: Sync | None = None) -> tuple[Disk, list[str]]:
        top = tmp_path / str(next(numbers))
        top.mkdir()
        monkeypatch.setenv("SIFMAKE_CACHE", str(top / "store"))
        monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(top / "keys"))
        monkeypatch.chdir(top)
        place = Place(top, uri, keys)
        configure(place, "project")
        configure(place, "signed", **{"key": str(keys.secret), "trusted-keys": [str(keys.public)]})
        write_small_sif(top / "a.sif")
        with watched(forgotten) as disk:
            scenario(place)
        return disk, disk.wrong + disk.left(top)

    return run


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_the_power_failure_leaves_is_whole(room, scenario):
    assert room(scenario)[1] == []


EARLY = {
    "sifmake.layers.blocks._sync_and_close",
    "sifmake.assembly.image._Writer._sync",
    "sifmake.assembly.patches.PatchMaker._made",
}
"""Syncs that only begin the work early, or find errors of the disk early: a later one makes the file safe."""


@pytest.mark.skipif(not LONG, reason="takes a minute: SIFMAKE_RELIABILITY=long")
def test_every_sync_is_missed_when_it_is_left_out(room):
    reached = {scenario: room(scenario)[0].syncs for scenario in SCENARIOS}
    unnoticed = [
        sync
        for sync in sorted(set().union(*reached.values()))
        if sync[0] not in EARLY
        and not any(room(scenario, sync)[1] for scenario, syncs in reached.items() if sync in syncs)
    ]
    assert "\n".join(map(str, unnoticed)) == ""
