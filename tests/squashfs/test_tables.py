"""The bytes of the tables, according to squashfs_fs.h of Linux, with metadata blocks stored as they are."""

import struct
from collections import namedtuple

from sifmake.flatten.tree import Tree
from sifmake.layers.entry import CHAR, DIR, SYMLINK, Inode
from sifmake.squashfs import Fragment, SquashfsOptions, draft_tables
from support.squashfs_tools import MTIME, Builder

SUPERBLOCK = struct.Struct("<5I6H8Q")
Superblock = namedtuple(  # noqa: PYI024 - nineteen integers
    "Superblock",
    "magic inodes mkfs_time block_size fragments compression block_log flags ids major minor "
    "root used id_start xattr_start inode_start directory_start fragment_start export_start",
)


def raw(builder, **options):
    """Return the superblock's fields and a function that reads the image, which has no compressed metadata."""
    builder.compress = lambda block: block
    if options:
        builder.options = SquashfsOptions(**options)
    tables = builder.tables()
    image = tables.superblock + builder.data + tables.tail
    return Superblock(*SUPERBLOCK.unpack(tables.superblock))._asdict(), image, tables


def first_block(image, start):
    size = struct.unpack_from("<H", image, start)[0]
    assert size & 0x8000, "stored uncompressed"
    return image[start + 2 : start + 2 + (size & 0x7FFF)]


def test_superblock_says_what_mksquashfs_says_by_default():
    builder = Builder()
    builder.add("a", data=b"hello")
    fields, image, tables = raw(builder, mkfs_time=1_700_000_000)
    assert fields["magic"] == 0x73717368
    assert (fields["major"], fields["minor"]) == (4, 0)
    assert fields["flags"] == 0xC0
    assert fields["compression"] == 1
    assert (fields["block_size"], fields["block_log"]) == (131072, 17)
    assert fields["mkfs_time"] == 1_700_000_000
    assert (fields["inodes"], fields["fragments"], fields["ids"]) == (2, 1, 1)
    assert fields["xattr_start"] == 2**64 - 1
    assert fields["used"] == tables.bytes_used
    assert tables.inode_count == 2
    assert len(image) % 4096 == 0
    assert not any(image[tables.bytes_used :])


def test_zstd_has_number_6():
    assert raw(Builder(), compression="zstd")[0]["compression"] == 6


def test_tables_follow_each_other_without_a_gap():
    builder = Builder()
    builder.add("a", data=b"hello", xattrs=((b"user.k", b"v"),))
    fields, image, _ = raw(builder)

    def behind_block(at):
        return at + 2 + (struct.unpack_from("<H", image, at)[0] & 0x7FFF)

    assert fields["inode_start"] == builder.end
    assert fields["directory_start"] == behind_block(fields["inode_start"])
    at = behind_block(fields["directory_start"])
    for name in ("fragment_start", "export_start", "id_start"):
        assert struct.unpack_from("<Q", image, fields[name])[0] == at
        assert fields[name] == behind_block(at)
        at = fields[name] + 8
    start, count, unused = struct.unpack_from("<QII", image, fields["xattr_start"])
    assert (start, count, unused) == (at, 1, 0)
    assert fields["xattr_start"] == behind_block(behind_block(at))
    assert fields["used"] == fields["xattr_start"] + 16 + 8


def test_inodes_take_their_basic_form_where_they_fit():
    builder = Builder()
    builder.add("a", mode=0o4755, uid=7, gid=9)
    builder.add("b", CHAR, major=0x123, minor=0x45678, mode=0o600)
    builder.add("c", SYMLINK, target=b"/a/b", mode=0o777)
    fields, image, _ = raw(builder)
    inodes = first_block(image, fields["inode_start"])
    expected = (
        struct.pack("<4H2I4I", 2, 0o4755, 1, 2, MTIME, 2, 0, 0xFFFFFFFF, 0, 0)
        + struct.pack("<4H2I2I", 5, 0o600, 0, 0, MTIME, 3, 1, 0x78 | 0x123 << 8 | 0x456 << 20)
        + struct.pack("<4H2I2I4s", 3, 0o777, 0, 0, MTIME, 4, 1, 4, b"/a/b")
        + struct.pack("<4H2I2I2HI", 1, 0o755, 0, 0, MTIME, 1, 0, 2, 3 + 12 + 3 * 9, 0, 5)
    )
    assert inodes == expected
    assert fields["root"] == len(expected) - 32
    listing = struct.pack("<3I", 2, 0, 2)
    for name, offset, delta, kind in ((b"a", 0, 0, 2), (b"b", 32, 1, 5), (b"c", 56, 2, 3)):
        listing += struct.pack("<HhHH", offset, delta, kind, 0) + name
    assert first_block(image, fields["directory_start"]) == listing


def test_an_uncompressible_block_is_stored_as_it_is():
    builder = Builder()
    builder.compress = lambda block: block + b"larger"
    tables = builder.tables()
    start = SUPERBLOCK.unpack(tables.superblock)[15]
    assert struct.unpack_from("<H", tables.tail, start - 96)[0] == 0x8000 | 32


def test_two_builds_of_one_tree_give_equal_bytes():
    builder = Builder()
    for name in ("b/2", "b/1", "a/x", "c"):
        builder.add(name, data=name.encode(), xattrs=((b"user.name", name.encode() * 9),))
    builder.link("a/again", builder.root.children[b"c"])
    assert builder.tables() == builder.tables()


def test_the_order_in_which_names_came_does_not_matter():
    def build(names):
        builder = Builder()
        for name in names:
            builder.add(name, uid=len(name))
        return builder.tables()

    assert build(["d/a", "d/bb", "c", "\N{LATIN SMALL LETTER E WITH ACUTE}"]) == build(
        ["\N{LATIN SMALL LETTER E WITH ACUTE}", "c", "d/bb", "d/a"]
    )


def test_inodes_are_numbered_by_folder_and_a_second_name_takes_no_number():
    builder = Builder()
    file = builder.add("d/one")
    builder.link("two", file)
    builder.add("d/sub", DIR)
    builder.add("d/x")
    fields, image, tables = raw(builder)
    assert (file.links, builder.root.links, builder.root.children[b"d"].links) == (2, 3, 3)
    assert tables.inode_count == 5
    inodes = first_block(image, fields["inode_start"])
    table = struct.unpack_from("<Q", image, fields["export_start"])[0]
    references = struct.unpack("<5Q", first_block(image, table))
    numbers = [struct.unpack_from("<4H2I", inodes, reference)[5] for reference in references]
    assert numbers == [1, 2, 3, 4, 5]
    # root; d and two, side by side; then sub and x, since one is two.
    kinds = [struct.unpack_from("<H", inodes, reference)[0] for reference in references]
    assert kinds == [1, 1, 9, 1, 2]


def test_place_is_asked_once_for_a_file_with_several_names():
    builder = Builder()
    file = builder.add("a", data=b"x" * 10)
    builder.link("b", file)
    builder.tables()
    asked = []

    def place(inode):
        asked.append(inode)
        return builder.placements[0]

    draft = draft_tables(Tree(builder.root), place, 1, builder.compress, builder.options)
    draft.finish([Fragment(96, 10)], builder.end)
    assert asked == [file]


def test_a_tree_deeper_than_python_recurses_is_not_a_problem():
    root = here = Inode(b"", DIR, 0o755, 0, 0, 0, children={})
    for _ in range(5000):
        below = Inode(b"d", DIR, 0o755, 0, 0, 0, children={})
        here.children[b"d"] = below
        here = below
    builder = Builder()
    builder.root = root
    assert builder.tables().inode_count == 5001


def test_the_index_of_a_long_directory_points_to_headers_and_their_first_names():
    builder = Builder()
    for number in range(2000):
        builder.add(b"entry-%d" % number)
    fields, image, _ = raw(builder)
    listing = all_blocks(image, fields["directory_start"], fields["fragment_start"])
    inodes = all_blocks(image, fields["inode_start"], fields["directory_start"])
    at = (fields["root"] >> 16) // 8194 * 8192 + (fields["root"] & 0xFFFF)
    kind, *_, links, size, start, parent, count, offset, xattrs = struct.unpack_from("<4H2I4I2HI", inodes, at)
    assert (kind, links, start, parent, offset, xattrs) == (8, 2, 0, 2002, 0, 0xFFFFFFFF)
    assert size - 3 <= len(listing)
    assert count == (size - 3 - 1) // 8192
    at += 40
    for number in range(count):
        position, block, length = struct.unpack_from("<3I", inodes, at)
        name = inodes[at + 12 : at + 13 + length]
        at += 13 + length
        assert position // 8192 == number + 1
        assert block == (number + 1) * 8194
        first_length = struct.unpack_from("<H", listing, position + 12 + 6)[0] + 1
        assert listing[position + 20 : position + 20 + first_length] == name


def all_blocks(image, start, end):
    """Return the bytes of uncompressed metadata blocks up to a place that may be behind the next table's blocks."""
    out = b""
    while start < end:
        size = struct.unpack_from("<H", image, start)[0] & 0x7FFF
        out += image[start + 2 : start + 2 + size]
        start += 2 + size
        if size < 8192:
            break
    return out
