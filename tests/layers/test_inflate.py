"""Inflating layers: every compression that images use, every kind of damage, and bounds."""

import bz2
import gzip
import io
import lzma
import resource
import struct
import subprocess
import sys
import tracemalloc
import zlib

import pytest

from sifmake.errors import LayerError
from sifmake.layers.inflate import inflate
from sifmake.limits import DEFAULT_LIMITS, KIB, MIB, Limits
from support.corpus import CORPUS, needs_corpus
from support.tars import END, block, chunked, file, read

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TAR = file(b"a", b"some content, " * 5000) + file(b"b", bytes(100_000)) + END
CHECKSUM = {zstd.CompressionParameter.checksum_flag: 1}


def skippable(data, number=0):
    return struct.pack("<II", 0x184D2A50 + number, len(data)) + data


def inflated(blob, limits=DEFAULT_LIMITS, **options):
    return b"".join(inflate(io.BytesIO(blob).read, limits, **options))


def parts(data, compress, size):
    return b"".join(compress(data[at : at + size]) for at in range(0, len(data), size))


def gzip_with(flags, extra):
    body = gzip.compress(TAR, mtime=0)
    return body[:3] + bytes([flags]) + body[4:10] + extra + body[10:]


def with_header_crc():
    head = gzip_with(2, b"")[:10]
    return gzip_with(2, struct.pack("<H", zlib.crc32(head) & 0xFFFF))


GOOD = {
    "plain": TAR,
    "gzip": gzip.compress(TAR),
    "gzip level 0": gzip.compress(TAR, 0),
    "gzip with name, comment and extra field": gzip_with(0x1C, b"\x03\0abcname\0comment\0"),
    "gzip with header checksum": with_header_crc(),
    "gzip of many members": parts(TAR, gzip.compress, 100),
    "gzip with empty members": gzip.compress(b"") * 50 + gzip.compress(TAR) + gzip.compress(b"") * 50,
    "zstd": zstd.compress(TAR),
    "zstd with checksum": zstd.compress(TAR, options=CHECKSUM),
    "zstd of many frames": parts(TAR, zstd.compress, 100),
    "zstd between skippable frames": skippable(b"x" * 99) + zstd.compress(TAR) + skippable(b"", 15),
    "zstd:chunked": skippable(b"a" * 200_000, 2) + parts(TAR, zstd.compress, 9999) + skippable(b"table of contents", 3),
}


@pytest.mark.parametrize("name", GOOD)
def test_compression_is_told_by_content(name):
    """b39, b40: gzip, plain, zstd, many members, skippable frames; no media type is asked."""
    assert inflated(GOOD[name]) == TAR


@pytest.mark.parametrize("name", GOOD)
def test_reads_may_be_short(name):
    blob = io.BytesIO(GOOD[name])
    assert b"".join(inflate(lambda size: blob.read(min(size, 37)), DEFAULT_LIMITS)) == TAR


EMPTY = {
    "nothing": b"",
    "end marker": bytes(1024),
    "gzip of nothing": gzip.compress(b""),
    "gzip of the end marker": gzip.compress(bytes(1024)),
    "skippable frame": skippable(b"x"),
}


@pytest.mark.parametrize("blob", EMPTY.values(), ids=EMPTY)
def test_empty_layers(blob):
    assert read(inflate(io.BytesIO(blob).read, DEFAULT_LIMITS)) == []


@pytest.mark.parametrize("name", ["gzip", "gzip of many members", "zstd with checksum", "zstd of many frames", "plain"])
def test_pieces_are_neither_crumbs_nor_lumps(name):
    blob = io.BytesIO(GOOD[name])
    sizes = [len(piece) for piece in inflate(blob.read, DEFAULT_LIMITS, chunk=64 * KIB)]
    assert max(sizes) <= 64 * KIB
    assert min(sizes[:-1]) >= 16 * KIB


SMALL = file(b"a", b"some content, " * 20) + END
CHECKED = {"gzip": gzip.compress(SMALL, mtime=0), "zstd": zstd.compress(SMALL, options=CHECKSUM)}


@pytest.mark.parametrize("name", CHECKED)
def test_a_stream_cut_anywhere_is_refused(name):
    blob = CHECKED[name]
    for size in range(4, len(blob)):
        with pytest.raises(LayerError, match="is truncated after"):
            inflated(blob[:size])


@pytest.mark.parametrize("name", CHECKED)
def test_a_later_member_cut_anywhere_is_refused(name):
    blob = CHECKED[name]
    for size in range(1, len(blob)):
        with pytest.raises(LayerError, match=r"is truncated after|trailing garbage"):
            inflated(blob + blob[:size])


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("garbage", [b"\0", b"\0" * 512, b"garbage", b"\x1f", b"\x28\xb5"])
def test_nothing_may_follow(name, garbage):
    with pytest.raises(LayerError, match=f"{name} stream has trailing garbage"):
        inflated(CHECKED[name] + garbage)


@pytest.mark.parametrize("position", range(1, 9))
def test_gzip_trailer_is_checked(position):
    blob = bytearray(CHECKED["gzip"])
    blob[-position] ^= 1
    with pytest.raises(LayerError, match="gzip stream is damaged"):
        inflated(bytes(blob))


@pytest.mark.parametrize("position", range(1, 5))
def test_zstd_checksum_is_checked(position):
    blob = bytearray(CHECKED["zstd"])
    blob[-position] ^= 1
    with pytest.raises(LayerError, match="zstd stream is damaged"):
        inflated(bytes(blob))


DAMAGED = {
    "reserved flag": (gzip_with(0x20, b""), "reserved flags"),
    "wrong header checksum": (gzip_with(2, b"\1\2"), "gzip stream is damaged"),
    "method that is not deflate": (b"\x1f\x8b\x07" + CHECKED["gzip"][3:], "gzip stream is damaged"),
    "member without magic": (CHECKED["gzip"] + b"\x1f\x8c" + CHECKED["gzip"][2:], "trailing garbage"),
    "gzip behind zstd": (CHECKED["zstd"] + CHECKED["gzip"], "zstd stream has trailing garbage"),
    "zstd behind gzip": (CHECKED["gzip"] + CHECKED["zstd"], "gzip stream has trailing garbage"),
    "dictionary": (
        zstd.compress(SMALL, zstd_dict=zstd.ZstdDict(b"\x37\xa4\x30\xec" + SMALL, is_raw=True).as_prefix),
        "zstd stream is damaged",
    ),
    "skippable frame truncated": (skippable(b"x" * 100)[:50], "zstd stream is truncated"),
    "xz": (lzma.compress(SMALL), "compressed with xz"),
    "bzip2": (bz2.compress(SMALL), "compressed with bzip2"),
    "bzip2 of nothing": (bz2.compress(b""), "compressed with bzip2"),
    "lz4": (b"\x04\x22\x4d\x18" + bytes(100), "compressed with lz4"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(name):
    blob, message = DAMAGED[name]
    with pytest.raises(LayerError, match=message):
        inflated(blob)


def test_a_file_name_may_look_like_a_magic():
    raw = file(b"BZh9 is a name") + END
    assert inflated(raw) == raw


def test_windows_are_limited():
    def with_window(log):
        options = {zstd.CompressionParameter.window_log: log}
        compressor = zstd.ZstdCompressor(options=options)
        return compressor.compress(TAR) + compressor.flush()

    assert inflated(with_window(23)) == TAR
    with pytest.raises(LayerError, match="zstd stream is damaged"):
        inflated(with_window(28))


BOMBS = {"gzip": gzip.compress(bytes(32 * MIB)), "zstd": zstd.compress(bytes(32 * MIB))}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(layer_bytes=4 * MIB), "larger than 4194304 bytes"),
        (Limits(inflate_ratio=100, inflate_ratio_from=4 * MIB), "more than 100 times"),
    ],
)
def test_bombs_are_stopped_early(name, limits, message):
    came = []
    with pytest.raises(LayerError, match=message):
        came.extend(map(len, inflate(io.BytesIO(BOMBS[name]).read, limits)))
    assert 0 < sum(came) <= 4 * MIB


def test_plain_tars_are_limited_too():
    with pytest.raises(LayerError, match="larger than"):
        inflated(TAR, Limits(layer_bytes=len(TAR) - 1))


def test_the_ratio_starts_to_count_late():
    assert len(inflated(BOMBS["gzip"], Limits(inflate_ratio=2, inflate_ratio_from=32 * MIB))) == 32 * MIB


def test_one_read_that_becomes_hundreds_of_megabytes_stays_small():
    """b43: 300 MB of zeros, 300 KB when compressed."""
    compressor = zlib.compressobj(9, wbits=31)
    blob = b"".join(compressor.compress(bytes(MIB)) for _ in range(300)) + compressor.flush()
    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in inflate(io.BytesIO(blob).read, DEFAULT_LIMITS))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 300 * MIB
    assert peak < 6 * MIB


IN_400_MB = """
import sys
from sifmake.layers.inflate import inflate
from sifmake.layers.tar import TarReader
from sifmake.limits import DEFAULT_LIMITS
for member in (reader := TarReader(inflate(open(sys.argv[1], "rb").read, DEFAULT_LIMITS), DEFAULT_LIMITS)):
    print(member.size, sum(len(piece) for piece in reader.data()))
"""


def test_a_big_layer_is_read_under_ulimit(tmp_path):
    """b43: a layer of 300 MB in 400 MB of address space."""
    size = 300 * MIB
    compressor = zlib.compressobj(1, wbits=31)
    head = block(b"zeros", size=size)
    blocks = [head, *[bytes(MIB)] * 300, END]
    (tmp_path / "layer").write_bytes(b"".join(map(compressor.compress, blocks)) + compressor.flush())
    done = subprocess.run(
        [sys.executable, "-c", IN_400_MB, str(tmp_path / "layer")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (400_000 * KIB, 400_000 * KIB)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == [str(size), str(size)], done.stderr


@needs_corpus
def test_all_compressions_of_one_image_hold_the_same_tree():
    """The same image pushed as gzip, zstd and zstd:chunked by skopeo."""
    trees = {}
    for layout in sorted((CORPUS / "generated" / "skopeo").glob("*.oci")):
        blobs = [path.read_bytes() for path in (layout / "blobs" / "sha256").iterdir()]
        layers = [blob for blob in blobs if blob[:2] == b"\x1f\x8b" or blob[:4] == b"\x28\xb5\x2f\xfd"]
        trees[layout.name] = sorted(repr(read(inflate(io.BytesIO(layer).read, DEFAULT_LIMITS))) for layer in layers)
    assert len(trees) >= 2
    first = next(iter(trees.values()))
    assert first
    assert all(tree == first for tree in trees.values())


def test_thousands_of_members_are_not_quadratic():
    """eStargz has a member per file; what is left over behind each must not be copied in full."""
    raw = b"".join(file(b"f%d" % number, b"x" * 10) for number in range(3000)) + END
    blob = parts(raw, gzip.compress, 1024)
    asked = []

    def counted(size):
        asked.append(size)
        return source.read(size)

    source = io.BytesIO(blob)
    assert read(inflate(counted, DEFAULT_LIMITS)) == read(chunked(raw))
    assert max(asked) <= 64 * KIB
