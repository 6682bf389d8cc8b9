"""Images beside those that mksquashfs makes of the same tree."""

import struct
import subprocess

import pytest

from sifmake.layers.entry import CHAR, DIR, FIFO, SYMLINK
from support.squashfs_tools import Builder, extract, needs_kernel, needs_tools, superblock_lines, unsquashfs

SUPERBLOCK = struct.Struct("<5I6H8Q")
VARYING = ("Filesystem size", "Creation or last append time", "Found a valid SQUASHFS 4:0 superblock on")


def mksquashfs(folder, image, *options):
    subprocess.run(
        ["mksquashfs", folder, image, "-noappend", "-quiet", "-no-progress", *options], check=True, capture_output=True
    )
    return image


def mixed_tree():
    """Directories fit into one metadata block and files into whole blocks or one fragment, where ways part."""
    builder = Builder()
    for number in range(250):
        data = b"file %d " % number * (number % 40)
        builder.add(f"some/{number % 7}/file-{number}", data=data, mtime=1_500_000_000 + number % 90)
    builder.link("linked/twice", builder.add("linked/once", data=b"x" * 262_144))
    builder.add("linked/symlink", SYMLINK, target=b"once", mode=0o777)
    builder.add("attributes/a", data=b"y", xattrs=((b"user.a", b"1"), (b"user.b", b"2")))
    builder.add("attributes/b", data=b"z", xattrs=((b"user.a", b"1"), (b"user.b", b"2")))
    builder.add("attributes/dir", DIR, xattrs=((b"trusted.c", b"3"),))
    builder.add("special/null", CHAR, major=1, minor=3, mode=0o666)
    builder.add("special/fifo", FIFO, uid=5, gid=6)
    builder.add("sparse", data=bytes(131072) + b"ends" * 32_768)
    return builder


@pytest.fixture
def images(tmp_path):
    builder = mixed_tree()
    ours = tmp_path / "ours"
    builder.write(ours)
    folder = extract(ours, tmp_path / "tree")
    return ours, folder, builder


@needs_kernel
@needs_tools("mksquashfs", "unsquashfs")
def test_the_superblock_says_the_same(tmp_path, images):
    ours, folder, _ = images
    theirs = mksquashfs(folder, tmp_path / "theirs")
    mine, other = (
        [line for line in superblock_lines(image) if not line.startswith(VARYING)] for image in (ours, theirs)
    )
    assert mine == other
    assert "Filesystem is exportable via NFS" in mine
    assert "Number of xattr ids 2" in mine


@needs_kernel
@needs_tools("mksquashfs", "unsquashfs")
def test_inodes_have_the_same_size(tmp_path, images):
    # Equal sizes of the uncompressed tables: basic and extended inodes are chosen alike.
    _, folder, builder = images
    with mksquashfs(folder, tmp_path / "theirs", "-noI").open("rb") as file:
        theirs = SUPERBLOCK.unpack(file.read(SUPERBLOCK.size))
    builder.compress = lambda block: block
    ours = SUPERBLOCK.unpack(builder.tables().superblock)
    assert ours[16] - ours[15] == theirs[16] - theirs[15]


@needs_kernel
@needs_tools("mksquashfs", "unsquashfs")
def test_metadata_are_as_small(tmp_path, images):
    ours, folder, _ = images
    used = []
    for image in (ours, mksquashfs(folder, tmp_path / "theirs")):
        with image.open("rb") as file:
            fields = SUPERBLOCK.unpack(file.read(SUPERBLOCK.size))
        used.append(fields[12] - fields[15])
    assert used[0] <= used[1] * 1.05


@needs_tools("unsquashfs")
def test_unsquashfs_lists_what_it_cannot_extract(tmp_path):
    builder = Builder()
    builder.add(b"n" * 256, uid=4294967294, gid=65536, mode=0o4711)
    builder.add("/".join(["d"] * 700))
    for number in range(20_000):
        builder.add(f"big/{number:05}")
    builder.write(tmp_path / "image")
    lines = unsquashfs("-lln", "-d", "", "-UTC", tmp_path / "image").splitlines()
    fields = {line.split()[-1]: line.split() for line in lines}
    assert fields["/" + "n" * 256] == ["-rws--x--x", "4294967294/65536", "0", "2020-09-13", "12:26", "/" + "n" * 256]
    assert "/d" * 700 in fields
    assert len([name for name in fields if name.startswith("/big/")]) == 20_000
