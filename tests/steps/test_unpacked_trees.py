"""Unpacked trees: made once, held while they are used, removed when nobody needs them."""

import os
import shutil

import pytest

from sifmake.errors import StoreError
from sifmake.steps.unpacked_trees import UnpackedTrees


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


def test_a_tree_from_before_the_machine_was_started_is_made_again(trees):
    """It was not synced: after a power failure its files may be empty."""
    with trees.hold("k", make, shutil.rmtree) as place:
        (place / "file").write_text("")
    mark = trees.folder / "trees/k.use"
    mark.write_text(mark.read_text().split()[0] + " 00000000-0000-0000-0000-000000000000")
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
