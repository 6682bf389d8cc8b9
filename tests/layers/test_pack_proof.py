"""Packs that lie although they have the right DiffID: each lie is found by the pack alone."""

from __future__ import annotations

import random
import zlib

import deflate
import pytest
from msgspec.structs import replace

from sifmake.errors import PackDamagedError
from sifmake.layers.codec import BLOCK_SIZE, STORED_UNCOMPRESSED, make_codec, zstd_module
from sifmake.layers.pack_audit import check_pack
from sifmake.layers.pack_format import FOOTER, Footer
from sifmake.layers.pack_proof import prove_pack
from sifmake.layers.pack_reader import open_pack
from sifmake.limits import DEFAULT_LIMITS
from support.layers import entry, file, folder, hardlink, make_pack, symlink, tar
from support.packs import as_first_format, parts_of, residue, tamper, write_parts
from support.tars import END, block, padded, pax

NOISE = random.Random(3).randbytes(2 * BLOCK_SIZE + 500)
RAW = tar(
    folder("d"),
    file("d/a", b"a" * 1000),
    file("d/b", b"b" * 70_000, pax_headers={"SCHILY.xattr.user.x": "value"}),
    file("d/c", random.Random(5).randbytes(100_000)),
    file("large", NOISE),
    file("zeros", bytes(2 * BLOCK_SIZE)),
    file("again", b"a" * 1000),
    file(".wh.gone"),
    file("x/.wh.y/z", b"odd"),
    hardlink("link", "d/a"),
    symlink("s", "d/a"),
    entry("null", b"3", devmajor=1, devminor=3),
)
HOLES = (
    pax(
        (b"GNU.sparse.size", b"%d" % (3 * BLOCK_SIZE)),
        (b"GNU.sparse.numblocks", b"1"),
        (b"GNU.sparse.map", b"%d,5" % (BLOCK_SIZE + 10)),
    )
    + block(b"sparse", size=5)
    + padded(b"bytes")
    + END
)
PATH, KIND, MODE, UID, GID, MTIME, SIZE, CONTENT, TARGET, MAJOR, MINOR, XATTRS = range(12)
SHA, LENGTH, START, STORED, BLOCKS, FRAGMENT, OFFSET, SPARSE = range(8)


@pytest.fixture
def pack(tmp_path):
    make_pack(tmp_path / "p", RAW).close()
    return tmp_path / "p"


def is_proven(path):
    with open_pack(path) as opened:
        prove_pack(opened, DEFAULT_LIMITS)
    return True


def is_refused(path, match=None):
    with open_pack(path) as opened, pytest.raises(PackDamagedError, match=match):
        prove_pack(opened, DEFAULT_LIMITS)
    return True


def test_an_honest_pack_is_proven(pack, tmp_path):
    assert is_proven(pack)
    make_pack(tmp_path / "zstd", RAW, codec=make_codec("zstd")).close()
    assert is_proven(tmp_path / "zstd")
    make_pack(tmp_path / "holes", HOLES).close()
    assert is_proven(tmp_path / "holes")


def entry_lie(path, field, value):
    def change(parts):
        for number, row in enumerate(parts["entries"]):
            if row[PATH] == path:
                longer = [*row, *[0, -1, b"", 0, 0, ()][len(row) - SIZE :]]
                longer[field] = value(longer[field]) if callable(value) else value
                parts["entries"][number] = longer

    return change


def swap_contents(parts):
    """Let two files of equal size change places."""
    first, second = (next(row for row in parts["entries"] if row[PATH] == path) for path in (b"d/a", b"d/b"))
    first[SIZE : CONTENT + 1], second[SIZE : CONTENT + 1] = second[SIZE : CONTENT + 1], first[SIZE : CONTENT + 1]


ENTRY_LIES = {
    "name": entry_lie(b"d/a", PATH, b"d/A"),
    "mode": entry_lie(b"d/a", MODE, 0o4755),
    "owner": entry_lie(b"d/a", UID, 1),
    "group": entry_lie(b"d/a", GID, 1),
    "time": entry_lie(b"d/a", MTIME, 1),
    "link target": entry_lie(b"s", TARGET, b"d/c"),
    "hard link target": entry_lie(b"link", TARGET, b"d/c"),
    "device number": entry_lie(b"null", MINOR, 5),
    "xattr": entry_lie(b"d/b", XATTRS, [[b"security.capability", b"all"]]),
    "other content": swap_contents,
    "one entry less": lambda parts: parts["entries"].pop(),
    "one entry more": lambda parts: parts["entries"].append([b"more", 1, 0o755, 0, 0, 0]),
    "order": lambda parts: parts["entries"].reverse(),
    "whiteout of another": entry_lie(b"gone", PATH, b"etc"),
    "no warnings": lambda parts: parts["meta"].__setitem__("warnings", []),
    "other warnings": lambda parts: parts["meta"].__setitem__("warnings", ["see evil.example"]),
    "another member": lambda parts: parts["meta"].__setitem__("more", "hidden"),
    "bytes in a content": lambda parts: parts["contents"][0].append(b"hidden"),
    "start of a small content": lambda parts: parts["contents"][0].__setitem__(START, 77),
}


@pytest.mark.parametrize("lie", ENTRY_LIES)
def test_a_lying_index(lie, pack):
    tamper(pack, ENTRY_LIES[lie])
    assert is_refused(pack)


def replace_block(parts, number, stored, word=None):
    """Put other stored bytes in the place of a fragment block; everything behind it moves."""
    start, old, size = parts["fragments"][number]
    length = old & 0xFFFFFF
    parts["data"] = parts["data"][:start] + stored + parts["data"][start + length :]
    moved = len(stored) - length
    parts["fragments"] = [(at + moved if at > start else at, w, n) for at, w, n in parts["fragments"]]
    parts["fragments"][number] = (start, len(stored) if word is None else word, size)
    for content in parts["contents"]:
        if content[BLOCKS] and content[START] > start:
            content[START] += moved


def stored_fragment(parts, number):
    start, word, _ = parts["fragments"][number]
    return parts["data"][start : start + (word & 0xFFFFFF)]


def test_padding_behind_a_compressed_block(pack):
    tamper(pack, lambda parts: replace_block(parts, 0, stored_fragment(parts, 0) + b"a secret"))
    with open_pack(pack) as opened:
        check_pack(opened, DEFAULT_LIMITS)  # which the audit, by its own inflater, does not see
    assert is_refused(pack, "not exactly one stream")


def test_padding_that_ends_in_the_right_checksum(pack):
    def change(parts):
        stored = stored_fragment(parts, 0)
        replace_block(parts, 0, stored + b"secret" + stored[-4:])

    tamper(pack, change)
    assert is_refused(pack, "not exactly one stream")


@pytest.mark.parametrize("window", [0, 6, 7, 8, 15])
def test_a_window_that_other_readers_refuse(window, pack):
    """The kernel refuses a block whose header has a window above 32 KiB; the inflater of the proof ignores it."""

    def change(parts):
        stored = stored_fragment(parts, 0)
        first = window << 4 | 8
        second = next(byte for byte in range(32) if (first << 8 | byte) % 31 == 0)
        replace_block(parts, 0, bytes([first, second]) + stored[2:])

    tamper(pack, change)
    assert is_proven(pack) if window == 7 else is_refused(pack, "header the kernel may refuse")


@pytest.mark.parametrize("more", [b"x", zstd_module().compress(b""), bytes.fromhex("502a4d18") + b"\4\0\0\0evil"])
def test_padding_behind_a_zstd_block(more, tmp_path):
    make_pack(tmp_path / "p", RAW, codec=make_codec("zstd")).close()
    tamper(tmp_path / "p", lambda parts: replace_block(parts, 0, stored_fragment(parts, 0) + more))
    assert is_refused(tmp_path / "p", "not exactly one stream")


def test_a_fragment_block_with_a_dead_tail(pack):
    """More than the tails in a fragment block: images would carry it along."""

    def change(parts):
        plain = zlib.decompress(stored_fragment(parts, 0)) + b"a secret"
        replace_block(parts, 0, deflate.zlib_compress(plain, 6))
        start, word, _ = parts["fragments"][0]
        parts["fragments"][0] = (start, word, len(plain))

    tamper(pack, change)
    assert is_refused(pack, "fragment block of the layer pack is not in its place")


def test_another_encoding_of_a_block_is_as_good(pack):
    """What cannot be told apart: images get other bytes and the same files."""
    tamper(pack, lambda parts: replace_block(parts, 0, zlib.compress(zlib.decompress(stored_fragment(parts, 0)), 1)))
    assert is_proven(pack)


def test_an_uncompressed_block_of_another_size(pack):
    def change(parts):
        plain = stored_fragment(parts, 1)
        replace_block(parts, 1, plain + b"x", (len(plain) + 1) | STORED_UNCOMPRESSED)

    tamper(pack, change)
    assert is_refused(pack)


def swap_offsets(parts):
    """Exchange the places of two tails in the index; the residue tells where they are really."""
    small = [row for row in parts["contents"] if row[LENGTH] in (1000, 70_000)]
    assert small[0][FRAGMENT] == small[1][FRAGMENT]
    small[0][OFFSET], small[1][OFFSET] = 70_000, 0


FRAGMENT_LIES = {
    "places of two tails": swap_offsets,
    "one block more": lambda parts: parts["fragments"].append(parts["fragments"][0]),
    "size": lambda parts: parts["fragments"].__setitem__(0, (*parts["fragments"][0][:2], BLOCK_SIZE)),
    "order": lambda parts: parts["fragments"].reverse(),
}


@pytest.mark.parametrize("lie", FRAGMENT_LIES)
def test_a_lying_fragment_table(lie, pack):
    tamper(pack, FRAGMENT_LIES[lie])
    assert is_refused(pack)


def gap_in_data(parts):
    """Put a secret between blocks, and move what comes behind it."""
    secret, parts["fragments"] = b"a secret", list(parts["fragments"])
    at = parts["fragments"][0][0] + (parts["fragments"][0][1] & 0xFFFFFF)
    parts["data"] = parts["data"][:at] + secret + parts["data"][at:]
    parts["fragments"] = [(start + len(secret) * (start >= at), *rest) for start, *rest in parts["fragments"]]
    for content in parts["contents"]:
        if content[BLOCKS] and content[START] >= at:
            content[START] += len(secret)


def test_a_tail_in_the_place_of_equal_bytes(tmp_path):
    """The bytes of the second file are right wherever they are read, but its own place may then hold anything."""
    make_pack(tmp_path / "p", tar(file("a", b"a" * 1000), file("b", b"a" * 500))).close()
    tamper(tmp_path / "p", lambda parts: parts["contents"][1].__setitem__(OFFSET, 0))
    assert is_refused(tmp_path / "p", "not in its place")


def more_contents(parts):
    """Add a content that no entry has, where the bytes of another one are."""
    parts["contents"].append([bytes(32), *parts["contents"][0][1:]])


def zeros_lie(field, value):
    def change(parts):
        next(row for row in parts["contents"] if row[SPARSE]).__setitem__(field, value)

    return change


CONTENT_LIES = {
    "one more": (more_contents, "a file's content"),
    "bytes in blocks of zeros": (zeros_lie(SPARSE, BLOCK_SIZE), "do not match the size"),
    "bytes in stored blocks": (zeros_lie(STORED, 100), "do not match the size"),
}


@pytest.mark.parametrize("lie", CONTENT_LIES)
def test_a_lying_table_of_contents(lie, pack):
    change, said = CONTENT_LIES[lie]
    tamper(pack, change)
    assert is_refused(pack, said)


def test_a_checksum_of_the_data_that_no_build_would_accept(pack):
    data = pack.read_bytes()
    footer = Footer.decode(data[-FOOTER.size :])
    pack.write_bytes(data[: -FOOTER.size] + replace(footer, data_crc=footer.data_crc ^ 1).encode())
    assert is_refused(pack, "layer pack is damaged")


DATA_LIES = {
    "gap": gap_in_data,
    "bytes at the end": lambda parts: parts.__setitem__("data", parts["data"] + b"a secret"),
    "start of a file's blocks": lambda parts: next(row for row in parts["contents"] if row[SPARSE]).__setitem__(
        START, 0
    ),
}


@pytest.mark.parametrize("lie", DATA_LIES)
def test_data_that_nothing_refers_to(lie, pack):
    tamper(pack, DATA_LIES[lie])
    assert is_refused(pack)


def test_a_hole_that_is_not_zero(tmp_path):
    """The stream has only the data of a sparse file, so its DiffID says nothing of bytes in the holes."""
    evil = bytearray(3 * BLOCK_SIZE)
    evil[BLOCK_SIZE + 10 : BLOCK_SIZE + 15] = b"bytes"
    evil[0:4] = b"evil"
    make_pack(tmp_path / "evil", tar(file("sparse", bytes(evil)))).close()
    make_pack(tmp_path / "p", HOLES).close()
    parts, other = parts_of(tmp_path / "p"), parts_of(tmp_path / "evil")
    parts["data"] = other["data"]
    for keep_digest in (True, False):
        content = list(other["contents"][0])
        if keep_digest:
            content[SHA] = parts["contents"][0][SHA]
        parts["contents"] = [content]
        write_parts(tmp_path / "p", parts)
        assert is_refused(tmp_path / "p", "not that of its layer|not in its place")


def test_a_small_hole_that_is_not_zero(tmp_path):
    def sparse(word):
        return pax((b"GNU.sparse.size", b"100"), (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.map", word)) + (
            block(b"s", size=5) + padded(b"bytes") + END
        )

    make_pack(tmp_path / "p", sparse(b"10,5")).close()
    evil = b"evil".ljust(10, b"\0") + b"bytes" + bytes(85)
    tamper(tmp_path / "p", lambda parts: replace_block(parts, 0, evil, 100 | STORED_UNCOMPRESSED))
    assert is_refused(tmp_path / "p", "not that of its layer")


def test_a_residue_that_keeps_the_files_bytes_as_literals(pack):
    """The right DiffID from literals only: the contents, which nothing refers to, are read by themselves."""

    def honest(parts):
        parts["residue"] = residue(*((RAW[at : at + 60_000],) for at in range(0, len(RAW), 60_000)))

    def lying(parts):
        plain = bytearray(zlib.decompress(stored_fragment(parts, 0)))
        plain[:4] = b"evil"
        replace_block(parts, 0, deflate.zlib_compress(bytes(plain), 6))

    tamper(pack, honest)
    assert is_proven(pack)
    tamper(pack, lying)
    assert is_refused(pack, "not that of its layer")


def test_a_residue_that_refers_to_a_content_elsewhere(tmp_path):
    """Content 0 is read where its bytes are right, a marker that nobody looks at, and file 0 is a literal."""
    good, evil = b"good" * 300, b"evil" * 300
    head, data = block(b".wh.x", size=len(evil)), padded(evil)
    raw = block(b"f", size=len(good)) + padded(good) + head + data + END
    make_pack(tmp_path / "p", raw).close()
    parts = parts_of(tmp_path / "p")
    parts["data"] = deflate.zlib_compress(evil, 6)
    parts["fragments"] = [(0, len(parts["data"]), len(evil))]
    at = raw.index(evil)
    parts["residue"] = residue((raw[:at], 0), (raw[at + len(evil) :],))
    write_parts(tmp_path / "p", parts)
    assert is_refused(tmp_path / "p", "not that of its layer")


def test_a_pack_of_another_layer(pack):
    tamper(pack, lambda parts: parts["meta"].__setitem__("diff_id", f"sha256:{'0' * 64}"))
    assert is_refused(pack, "holds another layer")


def test_a_stream_that_is_not_a_layer(pack):
    tamper(pack, lambda parts: parts.__setitem__("residue", residue((b"junk" * 128,))))
    assert is_refused(pack, "does not hold a layer")


def test_no_block_of_a_second_equal_file_stays_in_the_data(tmp_path):
    twice = [tar(file("a", NOISE), file("b", b"x" * 90_000), *more) for more in ((), (file("c", NOISE),))]
    for name, raw in zip("ab", twice, strict=True):
        make_pack(tmp_path / name, raw).close()
    first, second = parts_of(tmp_path / "a"), parts_of(tmp_path / "b")
    assert first["data"] == second["data"]
    assert first["contents"] == second["contents"]
    assert is_proven(tmp_path / "b")


def test_many_equal_large_files_with_others_between(tmp_path):
    files = [file(str(n), random.Random(n % 3).randbytes(400_000 + n % 3) + b"t" * (n % 2)) for n in range(40)]
    make_pack(tmp_path / "p", tar(*files)).close()
    with open_pack(tmp_path / "p") as opened:
        assert len(opened.contents) == 6
        opened.check_data()
    assert is_proven(tmp_path / "p")


def test_a_pack_of_format_1_is_read_and_proves_nothing(pack):
    new = parts_of(pack)
    with open_pack(pack) as opened:
        key = opened.key
    pack.rename(pack.with_name(key))
    path = pack.with_name(key)
    old = as_first_format(path)
    with open_pack(path, old) as opened:
        assert (opened.key, opened.footer.version, opened.has_residue) == (old, 1, False)
        assert [list(row) for row in opened.fragments] == [list(row) for row in new["fragments"]]
        opened.check_data()
    assert is_refused(path, "has no residue")
    with pytest.raises(PackDamagedError, match="another layer"):
        open_pack(path, key)
