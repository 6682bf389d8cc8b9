"""What killed runs left in a store goes with the next run that works there, and with ``gc`` and ``clean``."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest

from sifmake.cli.main import main
from sifmake.store import Store, lock
from sifmake.store.scratch import open_scratch
from sifmake.temporaries import DAY, temporary_name

KEY = "a" * 64 + "-gzip"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "store")
    store.packs.write(KEY, lambda file: file.write(b"pack"))
    return store


def leave(store):
    """Leave what runs leave that are killed."""
    with store.scratch_folder() as scratch:
        names = scratch.names()
    scratch.path.mkdir(mode=0o700)
    for name in (*names, "half.sif"):
        (scratch.path / name).write_bytes(b"x")
    for place in ("tmp", f"packs/{KEY[:2]}"):
        (store.root / place / temporary_name("pack")).write_bytes(b"x")


def left(store):
    return [path for path in store.root.rglob(".tmp-*") if path.parent.name != "half"]


@pytest.mark.parametrize(
    "use",
    [
        lambda store: [store.packs.write(KEY, lambda file: file.write(b"pack")), store.temporary_folder()],
        lambda _: main(["cache", "gc", "--max-size", "1G"]),
        lambda _: main(["cache", "clean", "--force"]),
    ],
    ids=["the next run", "gc", "clean"],
)
def test_it_goes_at_once(store, use):
    leave(store)
    assert len(left(store)) == 3
    use(store)
    assert left(store) == []


def test_what_is_being_written_stays_whatever_the_clock_says(store):
    name, _ = store.packs.write_temporary(lambda file: file.write(b"layer"))
    with store.scratch_folder() as scratch, store.lock("some"):
        (scratch.path / "half.sif").write_bytes(b"x")
        os.utime(scratch.path / "half.sif", (1, 1))
        for path in store.root.rglob("*"):
            os.utime(path, (time.time() - 9 * DAY,) * 2)
        os.utime(store.root / "locks" / "some", (1, 1))
        main(["cache", "gc", "--max-size", "1G"])
        assert (scratch.path / "half.sif").exists()
        assert (store.root / "locks" / "some").exists()
        store.packs.place(name, KEY.replace("a", "b"))
    assert store.packs.find(KEY.replace("a", "b"))


def test_a_lock_whose_file_was_removed_is_asked_for_again(store, monkeypatch):
    real = lock.fcntl.flock

    def flock(fd, how):
        (store.root / "locks" / "some").unlink()
        monkeypatch.setattr(lock.fcntl, "flock", real)
        real(fd, how)

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    second = []
    with store.lock("some") as held:
        assert held
        thread = threading.Thread(target=lambda: second.append(store.lock("some", 0.1).__enter__()))
        thread.start()
        thread.join()
    assert second == [False]


def test_a_scratch_folder_that_is_swept_before_it_is_locked_is_made_again(store, monkeypatch):
    real = os.mkdir

    def mkdir(name, *arguments, **options):
        monkeypatch.setattr(os, "mkdir", real)
        real(name, *arguments, **options)
        os.rmdir(name, dir_fd=options["dir_fd"])

    with store._files.own.make(("tmp",)) as parent:
        monkeypatch.setattr(os, "mkdir", mkdir)
        with open_scratch(parent) as scratch:
            assert len(left(store)) == 1
            assert scratch.path.exists()


def test_what_cannot_be_removed_does_not_fail_what_was_done(store, monkeypatch):
    """The next run removes it, because its mark is not locked any more."""
    with store.scratch_folder() as scratch:
        monkeypatch.setattr(type(scratch), "names", refuse)
    monkeypatch.undo()
    assert len(left(store)) == 1
    Store(store.root).temporary_folder()
    assert left(store) == []


def test_a_folder_that_cannot_be_marked_is_an_error_of_the_store(store, monkeypatch):
    monkeypatch.setattr("sifmake.store.scratch._mark", refuse)
    monkeypatch.setattr("os.rmdir", refuse)
    with pytest.raises(PermissionError) as raised, store.scratch_folder():
        raise AssertionError
    assert raised.value.filename == str(store.root / "tmp")


def refuse(*_, **__):
    raise PermissionError(errno.EACCES, "Permission denied", "made-up")
