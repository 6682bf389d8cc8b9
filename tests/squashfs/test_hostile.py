"""Images that want to cost a lot, or to show a reader another file than Linux."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from sifmake.errors import SquashfsError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.squashfs.reader import SquashfsReader
from support.bounded import assert_cheap, assert_refused, run_bounded
from support.corpus import SECURITY, needs_corpus
from support.hostile_squashfs import (
    DIRECTORY,
    FILE,
    SYMLINK,
    Hostile,
    file_inode,
    folder_inode,
    reference,
    run,
    symlink_inode,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20


def opened(image: Hostile, **limits: int) -> SquashfsReader:
    data = image.image()
    return SquashfsReader(lambda size, at: data[at : at + size], DEFAULT_LIMITS._replace(**limits))


def with_file(inode: bytes, **options: int) -> Hostile:
    """Return an image with one file."""
    image = Hostile(**options)
    place = image.inode(inode)
    image.folder(2, run([(b"file", place, 1, FILE)]))
    return image


# Two readers, two opinions


@needs_corpus
def test_two_inodes_of_one_number_are_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, evil = SECURITY / "hl-good.sif", SECURITY / "hl-evil.sif"
    assert main(["sif", "digest", str(good)]) == 0
    assert main(["sif", "digest", str(evil)]) == 1
    assert main(["diff", str(good), str(evil)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"sifmake: error: {evil}: /b: ") for line in lines)


def test_two_inodes_of_one_number_are_damage_where_directories_agree() -> None:
    image = Hostile()
    one, two = image.inode(file_inode(1, 0)), image.inode(file_inode(1, 0))
    image.folder(2, run([(b"a", one, 1, FILE), (b"b", two, 1, FILE)]))
    with pytest.raises(SquashfsError, match="two inodes have the number 1"):
        list(opened(image).walk())


def test_names_of_one_inode_are_hard_links() -> None:
    image = Hostile()
    one = image.inode(file_inode(1, 0))
    image.folder(2, run([(b"a", one, 1, FILE), (b"b", one, 1, FILE)]))
    _, first, second = opened(image).walk()
    assert (first.path, second.path) == (b"a", b"b")
    assert first.reference == second.reference


@pytest.mark.parametrize("names", [(b"a", b"a"), (b"b", b"a"), (b".",), (b"..",), (b"a/b",), (b"a\0b",)], ids=repr)
def test_names_that_linux_would_look_up_otherwise_are_damage(names: tuple[bytes, ...]) -> None:
    image = Hostile()
    places = [image.inode(file_inode(number, 0)) for number in range(1, len(names) + 1)]
    rows = [(name, place, number, FILE) for number, (name, place) in enumerate(zip(names, places, strict=True), 1)]
    image.folder(9, run(rows))
    with pytest.raises(SquashfsError, match="is out of order, a duplicate or not a valid name"):
        list(opened(image).walk())


@pytest.mark.parametrize(("number", "kind"), [(2, FILE), (1, SYMLINK)])
def test_a_directory_that_disagrees_with_an_inode_is_damage(number: int, kind: int) -> None:
    image = Hostile()
    place = image.inode(file_inode(1, 0))
    image.folder(9, run([(b"a", place, number, kind)]))
    with pytest.raises(SquashfsError, match="its number or type in the directory differs"):
        list(opened(image).walk())


@pytest.mark.parametrize("record", [(0, 0, b"b"), (12, 0, b"a"), (4, 0, b"a"), (0, 8194, b"a")])
def test_an_index_that_leads_elsewhere_is_damage(record: tuple[int, int, bytes]) -> None:
    """Linux jumps by it: names in a long listing could be read as another listing."""
    offset, block, name = record
    good, bad = [struct.pack("<3I", *record[:2], 0) + record[2] for record in ((0, 0, b"a"), (offset, block, name))]
    for index, fails in (([good], False), ([bad], True)):
        image = Hostile()
        place = image.inode(file_inode(1, 0))
        image.folder(9, run([(b"a", place, 1, FILE)]), index)
        try:
            assert len(list(opened(image).walk())) == 2
            assert not fails
        except SquashfsError:
            assert fails


@pytest.mark.parametrize("nested", [True, False])
def test_a_directory_under_two_names_is_damage(*, nested: bool) -> None:
    image = Hostile()
    if nested:
        listing = run([(b"again", 0, 1, DIRECTORY)])
        image.folder(1, listing)
    else:
        inner = image.inode(folder_inode(1, (0, 0), 0))
        image.folder(2, run([(b"a", inner, 1, DIRECTORY), (b"b", inner, 1, DIRECTORY)]))
    with pytest.raises(SquashfsError, match="a directory has two names"):
        list(opened(image).walk())


def test_blocks_of_another_length_are_damage() -> None:
    """Linux gives an error where a block inflates to less or more than its part of the file."""
    whole = zlib.compress(b"x" * 100)
    for data in (zlib.compress(b"x" * 99), zlib.compress(b"x" * 101), whole[:-4], whole[:-1] + b"?"):
        reader = opened(with_file(file_inode(1, 100, [len(data)]), data=data))
        (node,) = [node for node in reader.walk() if node.path]
        with pytest.raises(SquashfsError, match="block"):
            list(reader.chunks(node))


@pytest.mark.parametrize(
    ("target", "length"),
    [(b"", 0), (b"x" * 5000, 5000), (b"a\0b", 3), (b"short", 1 << 31)],
    ids=["empty", "long", "zero", "lie"],
)
def test_targets_that_linux_does_not_follow_are_an_error(target: bytes, length: int) -> None:
    image = Hostile()
    place = image.inode(symlink_inode(1, target, length))
    image.folder(2, run([(b"link", place, 1, SYMLINK)]))
    with pytest.raises(SquashfsError, match="a symlink's target has"):
        list(opened(image).walk())


@needs_corpus
@pytest.mark.parametrize("name", ["ids.sif", "far.sif"])
def test_numbers_beyond_the_image_are_damage(tmp_path: Path, name: str) -> None:
    assert_refused(run_bounded(tmp_path, "sif", "digest", SECURITY / name))


def test_what_lies_behind_the_images_end_is_not_read() -> None:
    """Linux reads nothing behind ``bytes_used``; there may be padding, or another object of the SIF file."""
    image = with_file(file_inode(1, 100, [100 | 1 << 24], start=3900))
    used = struct.unpack_from("<Q", image.image(), 40)[0]
    assert used < 3900 < len(image.image()) - 100
    reader = opened(image)
    (node,) = [node for node in reader.walk() if node.path]
    with pytest.raises(SquashfsError, match="a position is after the end of the image"):
        list(reader.chunks(node))


# What an image may cost


def loop_of_listings() -> Hostile:
    """A listing of 1.6 GB that takes 6.6 MB or less: what the issue had, with names in order."""
    image = Hostile(squeeze=True)
    place = image.inode(file_inode(1, 0))
    row = b"".join(struct.pack("<HhHH", place & 0xFFFF, 0, FILE, 255) + b"%0256d" % n for n in range(256))
    image.folder(2, (struct.pack("<3I", 255, 0, 1) + row) * 3000)
    return image


def names_in_order() -> Hostile:
    """As many names as fit into 8 MB, of one inode."""
    image = Hostile(squeeze=True)
    place = image.inode(file_inode(1, 0))
    image.folder(2, run((b"%07x" % n, place, 1, FILE) for n in range(1_500_000)))
    return image


def words_of_one_inode() -> Hostile:
    """Sixty names of one inode with 1.9 million block words."""
    image = Hostile(block_log=12)
    count = 1_900_000
    place = image.inode(file_inode(1, 4096 * count, [0] * count))
    image.folder(2, run((b"%02d" % n, place, 1, FILE) for n in range(60)))
    return image


def holes() -> Hostile:
    """A file of 64 GiB of holes."""
    return with_file(file_inode(1, 64 << 30, [0] * (64 << 13)))


def many_holes() -> Hostile:
    """A thousand files of 512 MiB of holes."""
    image = Hostile(block_log=20)
    places = [image.inode(file_inode(number + 1, 512 * MIB, [0] * 512)) for number in range(1000)]
    image.folder(2000, run((b"%04d" % n, place, n + 1, FILE) for n, place in enumerate(places)))
    return image


def deep_path() -> Hostile:
    """One path of 31,000 folders."""
    image = Hostile()
    inner = image.inode(folder_inode(1, (0, 0), 0))
    for number in range(2, 31_000):
        inner = image.folder(number, run([(b"d%d" % (number % 10), inner, number - 1, DIRECTORY)]))
    return image


def long_paths() -> Hostile:
    """A hundred thousand names below a long path."""
    image = Hostile()
    place = image.inode(file_inode(1, 0))
    inner = image.folder(2, run((b"%06d" % n, place, 1, FILE) for n in range(100_000)))
    for number in range(3, 240):
        inner = image.folder(number, run([(b"n" * 250, inner, number - 1, DIRECTORY)]))
    return image


def scattered_inodes() -> Hostile:
    """Names in an order in which every inode is in another metadata block than the last one."""
    blocks, each = 1030, 128
    image = Hostile(inodes=bytearray(blocks * 8192))
    rows = []
    for n in range(blocks * 8192 // each):
        place = n % blocks * 8192 + n // blocks * each
        inode = file_inode(n + 1, 0)
        image.inodes[place : place + len(inode)] = inode
        rows.append((b"%06d" % n, reference(place), n + 1, FILE))
    image.folder(len(rows) + 1, run(rows))
    return image


def fragments() -> Hostile:
    """Files of one byte, each in another fragment block of 1 MiB than the last one."""
    block = zlib.compress(bytes(MIB), 9)
    count = 4000
    image = Hostile(block_log=20, data=block * 1000)
    image.fragments = [(96 + len(block) * (n % 1000), len(block)) for n in range(count)]
    places = [image.inode(file_inode(n + 1, 1, tail=(n, 0))) for n in range(count)]
    image.folder(count + 1, run((b"%06d" % n, place, n + 1, FILE) for n, place in enumerate(places)))
    return image


def tails_of_one_block() -> Hostile:
    """Fifty thousand files that are nearly all of one fragment block."""
    block = zlib.compress(bytes(131_072), 9)
    image = Hostile(data=block, fragments=[(96, len(block))])
    places = [image.inode(file_inode(n + 1, 131_000, tail=(0, n % 72))) for n in range(50_000)]
    image.folder(60_000, run((b"%06d" % n, place, n + 1, FILE) for n, place in enumerate(places)))
    return image


def attributes() -> Hostile:
    """Forty thousand folders with the same attributes of 250 KB."""
    pair = struct.pack("<2H", 0, 3)
    entries = b"".join(pair + b"%03d" % n + struct.pack("<I", 50_000) + bytes(50_000) for n in range(5))
    image = Hostile(xattrs=(entries, struct.pack("<Q2I", 0, 5, 0)))
    places = [image.inode(folder_inode(n + 1, (0, 0), 0, xattrs=0)) for n in range(40_000)]
    image.folder(50_000, run((b"%06d" % n, place, n + 1, DIRECTORY) for n, place in enumerate(places)))
    return image


def small_attributes() -> Hostile:
    """Three thousand folders with the same 8,192 attributes, none of which has a value."""
    entries = b"".join(
        struct.pack("<2H", kind, 3) + b"%03x" % n + struct.pack("<I", 0) for kind in (0, 1) for n in range(4096)
    )
    image = Hostile(xattrs=(entries, struct.pack("<Q2I", 0, 8192, 0)))
    places = [image.inode(folder_inode(n + 1, (0, 0), 0, xattrs=0)) for n in range(3000)]
    image.folder(5000, run((b"%06d" % n, place, n + 1, DIRECTORY) for n, place in enumerate(places)))
    return image


def small_blocks() -> Hostile:
    """Half a million compressed blocks of 4 KiB, which are one."""
    block = zlib.compress(bytes(4096), 9)
    image = Hostile(block_log=12, data=(block * 240).ljust(8 * MIB, b"\0"))
    places = [image.inode(file_inode(n + 1, 4096 * 240, [len(block)] * 240)) for n in range(2000)]
    image.folder(5000, run((b"%06d" % n, place, n + 1, FILE) for n, place in enumerate(places)))
    return image


def long_blocks_of_short_files() -> Hostile:
    """A hundred thousand files of one byte, whose block takes a megabyte of the image."""
    block = zlib.compress(b"x").ljust(1_000_000, b"z")
    image = Hostile(block_log=20, data=block)
    places = [image.inode(file_inode(n + 1, 1, [len(block)])) for n in range(90_000)]
    image.folder(100_000, run((b"%06d" % n, place, n + 1, FILE) for n, place in enumerate(places)))
    return image


def inflated_blocks() -> Hostile:
    """Blocks of a megabyte that all have to be inflated, nearly as many as may be hashed."""
    block = zlib.compress(bytes(MIB))
    image = Hostile(block_log=20, data=block.ljust(9 * MIB, b"\0"))
    places = [image.inode(file_inode(n + 1, MIB, [len(block)])) for n in range(1900)]
    image.folder(5000, run((b"%06d" % n, place, n + 1, FILE) for n, place in enumerate(places)))
    return image


def deep_path_with_more() -> Hostile:
    """Folders in folders, each with a name that the walk comes back for."""
    image = Hostile()
    other = image.inode(file_inode(1, 0))
    inner = image.inode(folder_inode(2, (0, 0), 0))
    for number in range(3, 9000):
        names = [(b"a", inner, number - 1, DIRECTORY), (b"b", other, 1, FILE)]
        inner = image.folder(number, run(names))
    return image


BOMBS: dict[str, tuple[Callable[[], Hostile], str]] = {
    "listing of 1.6 GB": (loop_of_listings, "out of order"),
    "names in order": (names_in_order, "limits.image-listing-bytes"),
    "words of one inode": (words_of_one_inode, "limits.image-bytes-ratio"),
    "holes": (holes, "limits.image-bytes-ratio"),
    "many holes": (many_holes, "limits.image-bytes-ratio"),
    "deep path": (deep_path, "limits.image-listing-bytes"),
    "long paths": (long_paths, "limits.image-listing-bytes"),
    "scattered inodes": (scattered_inodes, "limits.image-table-bytes"),
    "fragments": (fragments, "limits.image-bytes-ratio"),
    "tails of one block": (tails_of_one_block, "limits.image-bytes-ratio"),
    "attributes": (attributes, "limits.image-bytes-ratio"),
    "small attributes": (small_attributes, "limits.image-bytes-ratio"),
    "small blocks": (small_blocks, "limits.image-bytes-ratio"),
    "long blocks of short files": (long_blocks_of_short_files, "limits.image-bytes-ratio"),
    "inflated blocks": (inflated_blocks, "limits.image-bytes-ratio"),
    "deep path with more": (deep_path_with_more, "limits.image-listing-bytes"),
}


def test_two_long_listings_and_a_package_list_fit_into_memory(tmp_path: Path) -> None:
    image = Hostile(block_log=20)
    status = image.inode(file_inode(1, 31 * MIB, [0] * 31))
    inner = image.folder(2, run([(b"status", status, 1, FILE)]))
    for number, name in enumerate((b"dpkg", b"lib"), 3):
        inner = image.folder(number, run([(name, inner, number - 1, DIRECTORY)]))
    rows = [(b"%05x" % n, image.inode(file_inode(n + 9, 0, start=1000 + n)), n + 9, FILE) for n in range(115_000)]
    image.folder(5, run([*rows, (b"var", inner, 4, DIRECTORY)]))
    path = image.sif(tmp_path / "a.sif")
    cost = run_bounded(tmp_path, "diff", path, path)
    assert_cheap(cost)
    assert cost.status == 0


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("command", ["digest", "diff"])
def test_bombs_end_soon_and_small(tmp_path: Path, name: str, command: str) -> None:
    make, message = BOMBS[name]
    path = make().sif(tmp_path / "bomb.sif")
    assert path.stat().st_size < 10_500_000
    cost = run_bounded(tmp_path, *(("sif", "digest", path) if command == "digest" else ("diff", path, path)))
    if command == "digest":
        assert_refused(cost)
        assert message in cost.err
        assert "damaged" not in cost.err
    else:
        assert_cheap(cost)


def test_limits_can_be_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = with_file(file_inode(1, 2 << 30, [0] * (2 << 13))).sif(tmp_path / "a.sif")
    monkeypatch.chdir(tmp_path)
    assert main(["sif", "digest", str(path)]) == 1
    assert (
        "(a limit); raise limits.image-bytes-ratio or limits.image-bytes-from in sifmake.yaml"
        in capsys.readouterr().err
    )
    (tmp_path / "config").mkdir()
    (tmp_path / "sifmake.yaml").write_text("limits: {image-bytes-ratio: 1000000}\n")
    assert main(["sif", "digest", str(path)]) == 0


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("image_entries", "more than 1 names"),
        ("name_bytes", "a path has 4 bytes, 1 are"),
        ("file_bytes", "a file has 2 bytes"),
    ],
)
def test_every_limit_has_its_own_message(limit: str, message: str) -> None:
    image = with_file(file_inode(1, 2, [0]))
    assert len(list(opened(image).walk())) == 2
    with pytest.raises(SquashfsError, match=message) as caught:
        list(opened(image, **{limit: 1}).walk())
    assert f"limits.{limit.replace('_', '-')} " in str(caught.value)
