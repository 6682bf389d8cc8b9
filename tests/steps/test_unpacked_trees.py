"""Unpacked trees: made once, held while they are used, removed when nobody needs them."""

import errno
import fcntl
import os
import shutil

import pytest

from sifmake.errors import StoreError
from sifmake.rootless.errors import RootlessError
from sifmake.steps.unpacked_trees import DAY, UnpackedTrees


def make(place):
    place.mkdir()
    (place / "file").write_text("x")
    return 1


@pytest.fixture
def trees(tmp_path):
    return UnpackedTrees(tmp_path / "trees")


def test_a_tree_is_made_once(trees):
    made = []
    for _ in range(2):
        with trees.hold("k", lambda place: made.append(place) or make(place), shutil.rmtree) as place:
            assert (place / "file").exists()
    assert len(made) == 1
    assert [(tree.key, tree.size) for tree in trees.trees()] == [("k", 1)]


def test_what_was_left_unfinished_is_made_again(trees):
    def fail(place):
        make(place)
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), trees.hold("k", fail, shutil.rmtree):
        pass
    assert not trees.has("k")
    with trees.hold("k", make, shutil.rmtree) as place:
        assert place.is_dir()
    assert len(list((trees.folder / "trees").iterdir())) == 2


@pytest.mark.parametrize(
    ("boot", "age"),
    [("00000000-0000-0000-0000-000000000000", 0), ("", 6 * DAY), ("", -DAY)],
    ids=["before a start of the machine", "long ago", "in the future"],
)
def test_a_tree_that_may_have_lost_files_is_made_again(trees, boot, age):
    """It was not synced, so after a power failure its files may be empty; and programs clean temporary folders."""
    with trees.hold("k", make, shutil.rmtree) as place:
        (place / "file").write_text("")
    mark = trees.folder / "trees/k.use"
    size, now_running, made = mark.read_text().split()
    mark.write_text(f"{size} {boot or now_running} {int(made) - age}")
    for _ in range(2):
        with trees.hold("k", make, shutil.rmtree) as place:
            assert (place / "file").read_text() == "x"
            (place / "file").chmod(0o600)
    assert [tree.size for tree in trees.trees()] == [1]
    with trees.hold("k", make, shutil.rmtree) as place:
        assert place.joinpath("file").stat().st_mode & 0o777 == 0o600


def test_a_tree_that_is_used_stays(trees):
    with trees.hold("k", make, shutil.rmtree):
        assert trees.remove_unused(0, shutil.rmtree) == []
    assert [tree.key for tree in trees.remove_unused(0, shutil.rmtree)] == ["k"]
    assert trees.trees() == []
    with trees.hold("k", make, shutil.rmtree):
        assert trees.has("k")
    assert trees.remove_unused(3600, shutil.rmtree) == []


def test_a_folder_in_which_others_rename_is_refused(tmp_path):
    """They could put a folder of theirs, or a link, in the place of one that was found to be private."""
    place = tmp_path / "place"
    place.mkdir()
    for mode, owner in ((0o777, os.geteuid()), (0o755, 4201), (0o1777, 4201)):
        if os.geteuid() == 0:
            os.chown(place, owner, -1)
        elif owner != os.geteuid():
            continue
        place.chmod(mode)
        with pytest.raises(StoreError, match="SIFMAKE_TMPDIR"):
            UnpackedTrees(place / "trees")
        assert not (place / "trees").exists()


def test_a_folder_that_others_enter_is_refused(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(StoreError, match="SIFMAKE_TMPDIR"):
        UnpackedTrees(tmp_path / "open")
    os.symlink(tmp_path, tmp_path / "link")
    with pytest.raises(StoreError, match="SIFMAKE_TMPDIR"):
        UnpackedTrees(tmp_path / "link")


def leave_run(trees, name="dead"):
    """Leave what a killed build leaves; return its folder."""
    runs = trees.folder / "runs"
    (runs / name / "run-x").mkdir(parents=True)
    (runs / f"{name}.use").touch()
    return runs / name


def test_what_a_killed_build_left_is_removed(trees):
    leave_run(trees)
    with trees.scratch(shutil.rmtree) as folder:
        trees.sweep(shutil.rmtree)
        assert folder.is_dir()
        assert len(list(folder.parent.iterdir())) == 2
    assert list(folder.parent.iterdir()) == []


def test_the_last_process_of_a_killed_build_is_waited_for(trees):
    """It keeps its folder locked and may write to it, so that the folder cannot be removed at first."""
    folder = leave_run(trees)
    lock = os.open(folder / "run-x", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    tries = []

    def remove(place):
        tries.append(place)
        if len(tries) < 3:
            raise OSError(errno.ENOTEMPTY, "made again")
        os.close(lock)
        shutil.rmtree(place)

    trees.sweep(remove)
    assert tries == [folder] * 3
    assert list(folder.parent.iterdir()) == []


def test_what_cannot_be_removed_stays_and_stops_no_build(trees):
    folder = leave_run(trees)
    leave_run(trees, "other")
    tries = []

    def remove(place):
        tries.append(place)
        if place == folder:
            raise RootlessError("the system grants this user no ids")
        shutil.rmtree(place)

    trees.sweep(remove)
    assert sorted(tries) == [folder, folder.with_name("other")]
    assert sorted(folder.parent.iterdir()) == [folder, folder.with_name("dead.use")]


def test_a_run_that_was_swept_before_it_was_locked_takes_another_name(trees, monkeypatch):
    real, opened = os.open, []

    def open_and_sweep(path, *words, **named):
        fd = real(path, *words, **named)
        opened.append(path)
        if len(opened) == 1:
            trees.sweep(shutil.rmtree)
        return fd

    monkeypatch.setattr(os, "open", open_and_sweep)
    with trees.scratch(shutil.rmtree) as folder:
        assert len({path for path in opened if str(path).endswith(".use")}) == 2
        assert folder.is_dir()
    assert list(folder.parent.iterdir()) == []


def keep(trees, *keys):
    for key in keys:
        with trees.hold(key, make, shutil.rmtree):
            pass


def test_two_may_clean_at_the_same_time(trees):
    keep(trees, "a", "b", "c")
    other = []

    def remove(place):
        if not other:
            other.append("has begun")
            other.extend(tree.key for tree in trees.remove_unused(0, shutil.rmtree))
        shutil.rmtree(place)

    assert [tree.key for tree in trees.remove_unused(0, remove)] == ["a"]
    assert other == ["has begun", "b", "c"]
    assert trees.trees() == []


def test_a_mark_that_goes_while_trees_are_listed(trees, monkeypatch):
    keep(trees, "a", "b")
    read = type(trees.folder).read_bytes

    def read_after_removal(path):
        path.unlink()
        return read(path)

    monkeypatch.setattr(type(trees.folder), "read_bytes", read_after_removal)
    assert trees.trees() == []


def test_a_tree_that_was_made_again_meanwhile_is_not_removed(trees, monkeypatch):
    """Between the look for its mark and the lock of it, another process cleans, and a build makes the tree again."""
    keep(trees, "a")
    lock = fcntl.flock

    def late(fd, how):
        monkeypatch.setattr(fcntl, "flock", lock)
        trees.remove_unused(0, shutil.rmtree)
        keep(trees, "a")
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert trees.remove_unused(0, shutil.rmtree) == []
    assert trees.has("a")
