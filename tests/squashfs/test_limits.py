"""Limits of squashfs 4.0 and Linux: refused with the path, or said."""

import re

import pytest

from sifmake.errors import SquashfsError
from sifmake.layers.entry import BLOCK, CHAR, DIR, HARDLINK, SYMLINK, Inode
from sifmake.squashfs import Placement, check_tree
from support.squashfs_tools import Builder

REFUSED = {
    "name of 257 bytes": ({"path": b"d/" + b"n" * 257}, "257 bytes", "n" * 257),
    "name with a zero byte": ({"path": b"d/a\0b"}, "cannot be the name", "a\\x00b"),
    "dot": ({"path": b"d/."}, "cannot be the name", "/d/."),
    "dot dot": ({"path": b"d/.."}, "cannot be the name", "/d/.."),
    "empty name": ({"path": b"d/"}, "cannot be the name", "/d/"),
    "empty symlink": ({"path": b"d/x", "kind": SYMLINK}, "1 to 4095 bytes", "/d/x"),
    "symlink of 4096": ({"path": b"d/x", "kind": SYMLINK, "target": b"t" * 4096}, "1 to 4095 bytes", "/d/x"),
    "symlink with zero": ({"path": b"d/x", "kind": SYMLINK, "target": b"t\0"}, "1 to 4095 bytes", "/d/x"),
    "major 4096": ({"path": b"d/x", "kind": CHAR, "major": 4096}, "device 4096:0", "/d/x"),
    "minor 2**20": ({"path": b"d/x", "kind": BLOCK, "minor": 1 << 20}, "device 0:1048576", "/d/x"),
    "negative minor": ({"path": b"d/x", "kind": BLOCK, "minor": -1}, "device 0:-1", "/d/x"),
    "uid 2**32": ({"path": b"d/x", "uid": 1 << 32}, "owner 4294967296:0", "/d/x"),
    "negative gid": ({"path": b"d/x", "gid": -1}, "owner 0:-1", "/d/x"),
    "no inode": ({"path": b"d/x", "kind": HARDLINK}, "kind 8", "/d/x"),
    "xattr name of 256": ({"path": b"d/x", "xattrs": ((b"user." + b"k" * 251, b""),)}, "256 + 0 bytes", "/d/x"),
    "xattr value of 65537": ({"path": b"d/x", "xattrs": ((b"user.k", bytes(65537)),)}, "6 + 65537 bytes", "/d/x"),
    "xattr names over 64 KiB": (
        {"path": b"d/x", "xattrs": tuple((b"user.%0200d" % i, b"") for i in range(330))},
        "exceed 65536",
        "/d/x",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_its_path_before_anything_is_placed(case):
    fields, what, where = REFUSED[case]
    builder = Builder()
    builder.add(b"a", data=b"x")
    builder.placements.clear()  # asking for a placement would fail in another way
    builder.add(**fields)
    with pytest.raises(SquashfsError, match=re.escape(what)) as error:
        builder.tables()
    assert where in str(error.value)
    with pytest.raises(SquashfsError):
        check_tree(builder.tree)


@pytest.mark.parametrize(
    "fields",
    [
        {"path": b"n" * 256},
        {"path": b"..."},
        {"path": b"x", "kind": SYMLINK, "target": b"t" * 4095},
        {"path": b"x", "kind": CHAR, "major": 4095, "minor": 1048575},
        {"path": b"x", "uid": 0xFFFFFFFE, "gid": 0xFFFFFFFE},
        {"path": b"x", "xattrs": ((b"user." + b"k" * 250, bytes(65536)),)},
    ],
    ids="-".join,
)
def test_the_last_that_fits_fits(fields):
    builder = Builder()
    builder.add(**fields)
    assert builder.tables().warnings == ()


@pytest.mark.parametrize(("files", "fits"), [(65534, True), (65535, False)])
def test_root_and_65534_other_owners_are_the_most(files, fits):
    builder = Builder()
    for number in range(files):
        builder.add(b"%05d" % number, uid=1000 + number)
    if fits:
        assert int.from_bytes(builder.tables().superblock[26:28], "little") == 65535
    else:
        with pytest.raises(SquashfsError, match="65536 different owners") as error:
            builder.tables()
        assert error.value.where == "/65534"


def test_a_directory_under_two_names_is_refused():
    builder = Builder()
    builder.link("b", builder.add("a", DIR))
    with pytest.raises(SquashfsError, match="two names"):
        builder.tables()


def test_a_directory_inside_itself_is_refused():
    builder = Builder()
    inside = builder.add("a", DIR)
    inside.children[b"loop"] = builder.root
    with pytest.raises(SquashfsError, match="two names"):
        builder.tables()


def test_times_are_clamped_with_one_warning():
    builder = Builder()
    builder.add("b", mtime=-1)
    builder.add("a", mtime=1 << 32)
    builder.add("c", mtime=(1 << 32) - 1)
    (warning,) = builder.tables().warnings
    assert warning.startswith("/a: ")
    assert "(2 in all)" in warning


def test_foreign_xattrs_are_dropped_with_a_warning_each():
    builder = Builder()
    acl = (b"system.posix_acl_access", b"1")
    builder.add("d/b", xattrs=(acl, (b"user.x", b"1")))
    builder.add("d/a", xattrs=(acl,))
    builder.add("e", xattrs=((b"user.", b"no name"),))
    first, second = builder.tables().warnings
    assert first.startswith("/d/a: extended attribute system.posix_acl_access dropped")
    assert "(2 in all)" in first
    assert second.startswith("/e: extended attribute user. dropped")


@pytest.mark.parametrize(
    "placement",
    [
        Placement(96, b"", -1, 0, 0),
        Placement(96, bytes(8), -1, 0, 0),
        Placement(96, bytes(4), 0, 0, 0),
        Placement(96, b"", 5, 0, 0),
    ],
    ids=["no block", "two blocks", "a block and a tail", "no such fragment"],
)
def test_a_placement_that_does_not_make_up_the_file_is_refused(placement):
    builder = Builder()
    file = Inode(b"a", 2, 0o644, 0, 0, 0, size=10, content=0)
    builder.link("a", file)
    builder.placements = [placement]
    with pytest.raises(SquashfsError, match="do not make up the file's 10 bytes"):
        builder.tables()
