"""Many processes on one store, with and without working locks, while others clean it: all succeed and are right.

CI lets a few work; ``SIFMAKE_RELIABILITY=long`` 16 at a time, 200 builds beside ``clean``, ``gc`` and ``verify``,
and 20 rounds of 50 runs, of which CI starts 12 at once.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import sys
import time
import traceback
from typing import TYPE_CHECKING

import pytest

from sifmake.builder.run_cache import ImageToRun, find_or_build
from sifmake.cli.main import main
from sifmake.progress import Silent
from sifmake.runtime.scratch import Scratch
from sifmake.store import Store
from sifmake.temporaries import TEMP_PREFIX
from support.faults import MIB, pull_image, sync_often, write_image
from support.runtime import (
    BUSYBOX,
    ORDINARY,
    as_ordinary,
    environment,
    needs_root,
    needs_runtime,
    open_folder,
    processes_with,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONG = os.environ.get("SIFMAKE_RELIABILITY") == "long"
CROWD, BUILDS, RUNS, ROUNDS = (16, 200, 50, 20) if LONG else (4, 6, 12, 2)


def begin(work: Callable[[], object], said: Path) -> int:
    """Do work in a process of its own; what it dies of is written to a file."""
    child = os.fork()
    if not child:
        status = 1
        try:
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            status = work() or 0
        except BaseException:  # noqa: BLE001 - the parent shows it
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def ended(children: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def left(*folders: Path) -> list[str]:
    return [
        str(path) for folder in folders for path in folder.rglob("*") if path.name.startswith((TEMP_PREFIX, "tmp."))
    ]


def no_locks(*_: object) -> None:
    raise OSError(37, os.strerror(37))


@pytest.fixture
def uri(tmp_path, monkeypatch):
    sync_often(monkeypatch, 100_000)
    monkeypatch.setattr("sifmake.assembly.patches.LEAST", 1)
    return write_image(tmp_path / "image", 2 * MIB)


@pytest.mark.parametrize("flock", [fcntl.flock, no_locks, lambda *_: None], ids=["locks", "no locks", "locks for all"])
def test_a_crowd_on_one_store_and_one_target(tmp_path, uri, monkeypatch, flock):
    good = pull_image(uri, tmp_path / "good.sif", tmp_path / "calm")
    monkeypatch.setattr(fcntl, "flock", flock)
    store, said = tmp_path / "store", tmp_path / "said"
    for _ in range(3 if LONG else 1):
        shutil.rmtree(store, ignore_errors=True)
        work = [lambda n=n: pull_image(uri, tmp_path / "out" / f"{n % 3}.sif", store) and 0 for n in range(CROWD)]
        assert ended([begin(one, said) for one in work]) == [0] * CROWD, said.read_text()
        assert {path.read_bytes() for path in (tmp_path / "out").iterdir()} == {good}
        assert left(store, tmp_path / "out") == []


def run_it(uri: str) -> bytes:
    """Return the bytes of what ``exec URI`` runs."""
    with os.fdopen(find_or_build(ImageToRun(uri), Silent()).fd, "rb") as file:
        file.seek(0)
        return file.read()


def build_often(uri: str, folder: Path, good: tuple[bytes, bytes], count: int) -> int:
    """Build again and again, each time another way; return 1 if one was wrong."""
    for number in range(count):
        if number % 3 == 2:
            right = run_it(uri) == good[1]
        else:
            right = pull_image(uri, folder / "a.sif", folder.parent / "store") == good[0]
        if not right:
            sys.stderr.write(f"build {number} is wrong\n")
            return 1
    return 0


def clean_often(words: list[str], until: Path) -> int:
    while not until.exists():
        if status := main(["--debug", "-q", "cache", *words]):
            return status
        time.sleep(random.uniform(0, 0.05))
    return 0


def test_builds_beside_clean_gc_and_verify(tmp_path, uri, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    good = pull_image(uri, tmp_path / "good.sif", tmp_path / "store"), run_it(uri)
    stop, said = tmp_path / "stop", tmp_path / "said"
    words = (["clean", "--force"], ["gc", "--max-size", "0"], ["verify"])
    cleaners = [begin(lambda some=some: clean_often(some, stop), said) for some in words]
    builders = 4 if LONG else 2
    for number in range(builders):
        (tmp_path / str(number)).mkdir()
    children = [
        begin(lambda n=n: build_often(uri, tmp_path / str(n), good, BUILDS // builders), said) for n in range(builders)
    ]
    results = ended(children)
    stop.touch()
    assert (results, ended(cleaners)) == ([0] * builders, [0] * 3), said.read_text()
    assert left(tmp_path) == []


@pytest.mark.parametrize("user", [0, ORDINARY])
@needs_root
def test_many_runs_at_once_each_get_their_folder(user):
    def work() -> int:
        if user:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        for _ in range(5):
            folder = Scratch()
            with open(f"{folder.path}/file", "w") as file:
                file.write("x")
            folder.remove()
        return 0

    with open_folder() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIFMAKE_TMPDIR", str(place))
        for _ in range(ROUNDS):
            said = place / "said"
            said.touch()
            said.chmod(0o666)
            assert ended([begin(work, said) for _ in range(RUNS)]) == [0] * RUNS, said.read_text()
        assert [path.name for path in place.iterdir()] == ["said"]


@needs_runtime
@needs_root
@pytest.mark.parametrize("user", [0, ORDINARY], ids=["root", "ordinary"])
def test_many_whole_commands_run_at_once(user):
    """As job arrays do: the same ``exec`` everywhere at the same moment, and nothing of them is left."""
    before = as_ordinary(fuse=True) if user else []
    with open_folder() as place:
        shutil.copy(BUSYBOX, place / "tool.sif")
        (place / "run").mkdir(mode=0o777)
        (place / "run").chmod(0o1777)
        words = ["exec", "--runtime", "builtin", str(place / "tool.sif"), "sh", "-c", "echo $0", str(place)]
        env = environment(SIFMAKE_TMPDIR=str(place / "run"))
        for _ in range(ROUNDS if LONG else 1):
            started = [start(*words, before=before, env=env, cwd="/") for _ in range(RUNS)]
            said = [(one.communicate(timeout=300), one.returncode) for one in started]
            assert set(said) == {((f"{place}\n".encode(), b""), 0)}
        assert os.listdir(place / "run") == []
        assert processes_with(str(place)) == []


def test_what_a_running_build_holds_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    store = Store(tmp_path / "store")
    made = [store.packs.write(letter * 64 + "-gzip", lambda file: file.write(b"pack")) for letter in "ab"]
    held = store.packs.open("a" * 64 + "-gzip")
    for one in made:
        one.close()
    assert main(["cache", "clean", "--force"]) == 0
    assert [path.name[0] for path in (tmp_path / "store" / "packs").rglob("*-gzip")] == ["a"]
    held.close()
    assert main(["cache", "clean", "--force"]) == 0
    assert list((tmp_path / "store" / "packs").rglob("*-gzip")) == []
