"""Images read back by the kernel, unsquashfs and squashfuse: every reader must find the tree that was built."""

import os
import struct
from contextlib import contextmanager

import pytest

from sifmake.layers.entry import BLOCK, CHAR, DIR, FIFO, FILE, SOCKET, SYMLINK, Inode
from sifmake.squashfs import Placement
from support.squashfs_tools import (
    Builder,
    extract,
    fuse_mount,
    kernel_mount,
    needs_kernel,
    needs_tools,
    read_rows,
    without,
)

BLOCK_SIZE = 131072
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
"""security.capability as Linux has it, capabilities(7): revision 2, effective, CAP_NET_BIND_SERVICE."""


def noise(size):
    """Return bytes that hardly compress, equal in every run."""
    state, out = 12345, bytearray()
    while len(out) < size:
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        out += state.to_bytes(8, "little")[3:]
    return bytes(out[:size])


def empty(builder):
    builder.root.mode = 0o1777


def one_file(builder):
    builder.add("a", data=b"hello")


def every_kind(builder):
    builder.add("dir", DIR, mode=0o2750, uid=1, gid=2)
    builder.add("file", data=b"x", mode=0o6755, uid=4294967294, gid=4294967294)
    builder.add("none", mode=0)
    builder.add("link", SYMLINK, target=b"../no/such", mode=0o777)
    builder.add("longest", SYMLINK, target=b"t/" * 2047 + b"t", mode=0o777)
    builder.add("block", BLOCK, major=4095, minor=1048575, mode=0o660)
    builder.add("char", CHAR, major=1, minor=3, mode=0o666)
    builder.add("wide", CHAR, major=200, minor=256, mode=0o666)
    builder.add("fifo", FIFO)
    builder.add("socket", SOCKET)
    builder.add("old", mtime=0)
    builder.add("new", mtime=2**32 - 1)
    builder.add("before", mtime=-5)
    builder.add("after", mtime=2**40)


def sizes(builder):
    for size in (0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE):
        builder.add(f"zeros-{size}", data=bytes(size))
        builder.add(f"text-{size}", data=(b"some text %d " % size * (size // 8 + 1))[:size])
        builder.add(f"noise-{size}", data=noise(size))
    hole, full = bytes(BLOCK_SIZE), noise(BLOCK_SIZE)
    builder.add("sparse/mixed", data=hole + full + hole * 2 + full + b"tail")
    builder.add("sparse/end", data=full + hole)


def hard_links(builder):
    file = builder.add("z/file", data=b"shared")
    for kind, fields in ((FILE, {}), (SYMLINK, {"target": b"z"}), (CHAR, {"major": 5, "minor": 1}), (FIFO, {})):
        inode = builder.add(f"m/{kind}", kind, **fields)
        for path in (f"a/{kind}", f"z/{kind}", f"a/b/{kind}-again"):
            builder.link(path, inode)
    for number in range(300):
        builder.link(f"many/{number}", file)


def names(builder):
    for length in (1, 2, 254, 255):
        builder.add(b"n" * length, data=b"%d" % length)
    for name in (
        b"new\nline",
        b"tab\t",
        b"\xff\xfe",
        "\N{SNOWMAN}".encode(),
        b" ",
        b"-n",
        b"a\\b",
        b"...",
        b"\x01",
        b"*",
    ):
        builder.add(b"odd/" + name, data=name)
        builder.add(b"odd-dirs/" + name + b"/" + name, data=name)


def deep(builder):
    builder.add("/".join(["level"] * 600), data=b"bottom")


def attributes(builder):
    for number in range(1500):
        value = ((b"trusted.n", b"%d" % number), (b"user.same", b"longer than eight bytes"))
        builder.add(f"sets/{number}", xattrs=value)
    small = ((b"security.capability", CAPABILITY), (b"trusted.overlay.opaque", b"y"), (b"user.empty", b""))
    for kind in (FILE, DIR):
        builder.add(f"kinds/{kind}", kind, xattrs=small)
    for kind, fields in ((SYMLINK, {"target": b"t"}), (CHAR, {"minor": 3, "major": 1}), (FIFO, {}), (SOCKET, {})):
        builder.add(f"kinds/{kind}", kind, xattrs=((b"trusted.k", b"binary\0\xff"),), **fields)
    builder.link("again", builder.add("kinds/linked", data=b"z" * 5, xattrs=small))
    builder.add("dropped", xattrs=((b"system.posix_acl_access", b"1"), (b"user.kept", b"1")))
    builder.add("only-dropped", xattrs=((b"osx.thing", b"1"),))
    builder.root.xattrs = small


def large_attributes(builder):
    large = noise(65536)
    for number in range(3):
        builder.add(f"shared/{number}", xattrs=((b"user.k%d" % number, large),))
    builder.add("edges", xattrs=tuple((b"user.%05d" % size, bytes(size)) for size in (0, 7, 8, 9, 8191, 8192, 8193)))
    builder.add("long", xattrs=((b"user." + b"k" * 250, b"v"), (b"user.a", b"v")))
    builder.add("many", xattrs=tuple((b"trusted.%03d" % number, b"%d" % number) for number in range(600)))


def directory_of(count, name="%d"):
    def build(builder):
        for number in range(count):
            builder.add("before/" + name % number, data=b"x")
            builder.add("dir/" + name % number, DIR if number % 50 == 7 else FILE)

    return build


TREES = {
    "empty": empty,
    "one file": one_file,
    "every kind": every_kind,
    "sizes": sizes,
    "hard links": hard_links,
    "names": names,
    "attributes": attributes,
    "256 entries": directory_of(256),
    "257 entries": directory_of(257),
    "1000 entries": directory_of(1000),
    "listing over 64 KiB": directory_of(1500, "a rather long name, so that the listing gets long %d"),
}
KERNEL_ONLY = {"deep": deep, "large attributes": large_attributes}


@contextmanager
def by_unsquashfs(image, at):
    yield extract(image, at)


@needs_kernel
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("case", TREES | KERNEL_ONLY)
def test_the_kernel_finds_the_tree(tmp_path, case, compression):
    builder = Builder(compression=compression)
    (TREES | KERNEL_ONLY)[case](builder)
    builder.write(tmp_path / "image")
    with kernel_mount(tmp_path / "image", tmp_path / "at") as top:
        assert read_rows(top) == builder.rows()


@needs_kernel
@needs_tools("unsquashfs")
@pytest.mark.parametrize("case", TREES)
def test_unsquashfs_extracts_the_tree(tmp_path, case):
    builder = Builder()
    TREES[case](builder)
    builder.write(tmp_path / "image")
    assert read_rows(extract(tmp_path / "image", tmp_path / "at")) == builder.rows()


@needs_kernel
@needs_tools("squashfuse")
@pytest.mark.parametrize("case", [case for case in TREES if case != "attributes"])
def test_squashfuse_finds_the_tree(tmp_path, case):
    builder = Builder()
    TREES[case](builder)
    builder.write(tmp_path / "image")
    with fuse_mount(tmp_path / "image", tmp_path / "at") as top:
        # squashfuse numbers names, not inodes
        assert without(read_rows(top), group=b"") == without(builder.rows(), group=b"")


@needs_kernel
@needs_tools("squashfuse")
def test_squashfuse_finds_user_attributes(tmp_path):
    # It takes the prefixes trusted and security for each other, in mksquashfs's images too.
    builder = Builder()
    for number in range(600):
        builder.add(str(number), xattrs=((b"user.n", b"%d" % number), (b"user.same", b"longer than eight bytes")))
    builder.write(tmp_path / "image")
    with fuse_mount(tmp_path / "image", tmp_path / "at") as top:
        assert without(read_rows(top), group=b"") == without(builder.rows(), group=b"")


@needs_kernel
def test_a_hundred_thousand_entries_are_listed_and_looked_up(tmp_path):
    builder = Builder()
    expected = {b"entry-%06d" % number for number in range(100_000)}
    for name in expected:
        builder.add(b"big/" + name, FIFO)
    builder.add(b"big/entry-050000-between", DIR)
    builder.write(tmp_path / "image")
    with kernel_mount(tmp_path / "image", tmp_path / "at") as top:
        big = os.fsencode(top / "big")
        for number in (99_999, 0, 50_000, *range(3, 100_000, 997)):
            assert os.lstat(big + b"/entry-%06d" % number).st_ino
        for absent in (b"a", b"entry-0", b"entry-050000x", b"entry-99999", b"zzz"):
            with pytest.raises(FileNotFoundError):
                os.lstat(big + b"/" + absent)
        assert set(os.listdir(big)) == expected | {b"entry-050000-between"}
        assert os.listdir(big + b"/entry-050000-between") == []


@needs_kernel
def test_a_name_of_256_bytes_is_listed(tmp_path):
    builder = Builder()
    builder.add(b"n" * 256)
    builder.write(tmp_path / "image")
    with kernel_mount(tmp_path / "image", tmp_path / "at") as top:
        assert os.listdir(os.fsencode(top)) == [b"n" * 256]
        assert os.lstat(os.fsencode(top) + b"/" + b"n" * 256).st_size == 0


@needs_kernel
def test_65535_owners(tmp_path):
    builder = Builder()
    for number in range(32767):
        builder.add(b"%05d" % number, FIFO, uid=2**32 - 2 - number, gid=70_000 + number)
    builder.write(tmp_path / "image")
    with kernel_mount(tmp_path / "image", tmp_path / "at") as top:
        for number in (0, 1, 16383, 16384, 20000, 32766):
            status = (top / f"{number:05}").lstat()
            assert (status.st_uid, status.st_gid) == (2**32 - 2 - number, 70_000 + number)


@needs_kernel
@needs_tools("unsquashfs", "squashfuse")
@pytest.mark.parametrize("reader", [kernel_mount, by_unsquashfs, fuse_mount])
def test_data_and_tables_above_4_gib(tmp_path, reader):
    builder = Builder(start=(5 << 30) + 123)
    builder.add("blocks", data=noise(2 * BLOCK_SIZE))
    builder.add("tail", data=b"only a fragment")
    builder.write(tmp_path / "image")
    with reader(tmp_path / "image", tmp_path / "at") as top:
        assert without(read_rows(top), group=b"") == without(builder.rows(), group=b"")


@needs_kernel
def test_a_file_above_4_gib(tmp_path):
    builder = Builder()
    builder.add("marker", data=noise(BLOCK_SIZE) + b"tail")
    marker = builder.placements[0]
    holes = 5 << 30
    words = bytes(4 * (holes // BLOCK_SIZE)) + marker.blocks
    builder.placements.append(Placement(marker.start, words, marker.fragment, marker.offset, holes))
    size = holes + BLOCK_SIZE + 4
    builder.link("huge", Inode(b"huge", FILE, 0o644, 0, 0, 0, size=size, content=1))
    builder.write(tmp_path / "image")
    with kernel_mount(tmp_path / "image", tmp_path / "at") as top, (top / "huge").open("rb") as file:
        status = os.fstat(file.fileno())
        assert (status.st_size, status.st_blocks) == (size, -(-(BLOCK_SIZE + 4) // 512))
        assert file.read(100) == bytes(100)
        file.seek(holes)
        assert file.read() == noise(BLOCK_SIZE) + b"tail"
