"""What the layers of one image take together is bounded by their size, whichever of them takes it and of what kind."""

from __future__ import annotations

import hashlib
import random
import sys
import tarfile
import zlib
from contextlib import nullcontext
from itertools import chain

import pytest

from sifmake.errors import LimitError
from sifmake.layers.entry import FILE, Entry
from sifmake.layers.image_budget import ImageBudget
from sifmake.limits import Limits
from support.images import Blobs, write_layout
from support.measured import measured

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1 << 20
FORMAT = tarfile.USTAR_FORMAT


def squeezed(pieces, compress=None):
    """Compress a layer; return it and its DiffID. Without a function for it, it is never whole in memory."""
    if compress:
        raw = b"".join(pieces)
        return compress(raw), f"sha256:{hashlib.sha256(raw).hexdigest()}"
    gzip, plain, out = zlib.compressobj(1, zlib.DEFLATED, 31), hashlib.sha256(), []
    for piece in pieces:
        plain.update(piece)
        out.append(gzip.compress(piece))
    return b"".join([*out, gzip.flush()]), f"sha256:{plain.hexdigest()}"


def member(name, size=0, kind=b"0"):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(FORMAT)


def extended_record(keyword, value):
    size = len(keyword) + len(value) + 3
    size += len(str(size + len(str(size))))
    return b"%d %b=%b\n" % (size, keyword, value)


def extended(keyword, value):
    """A PAX header with one record."""
    record = extended_record(keyword, value)
    return member("pax", len(record), b"x") + record + bytes(-len(record) % 512)


NAMED = bytearray(member("file0000000"))
NAMED[:11], NAMED[148:156] = bytes(11), b" " * 8
REST = sum(NAMED)


def numbered(at, size=0):
    """What ``member`` gives for a file of that number, in a tenth of the time: there are hundreds of thousands."""
    name, octal = b"file%07d" % at, b"%011o" % size
    total = REST + sum(name) + sum(octal) - 11 * ord("0")
    return b"%b%b%b%b%06o\0 %b" % (name, NAMED[11:124], octal, NAMED[135:148], total, NAMED[156:])


def data(name, size):
    yield member(name, size)
    yield from [b"\1" * MIB] * (size // MIB)
    yield bytes(1024)


LONG = b"/".join([b"d" * 250] * 200)
TARGET = b"/".join([b"d" * 250] * 16)
MEMBERS = {
    "long names": lambda at: extended(b"path", LONG + b"/%d" % at) + member("x"),
    "long link targets": lambda at: extended(b"linkpath", TARGET + b"%d" % at) + member(f"l{at}", kind=b"2"),
    "hard links": lambda at: extended(b"linkpath", LONG + b"/%d" % at) + member(f"h{at}", kind=b"1"),
    "attributes": lambda at: extended(b"SCHILY.xattr.user.a%d" % at, bytes(60_000)) + member(f"a{at}"),
    "whiteouts": lambda at: extended(b"path", LONG + b"/.wh.%d" % at) + member("x"),
    "many files": numbered,
}
COUNTS = {"long link targets": 14_000, "many files": 500_000}


def layout(tmp_path, layers, compress=None):
    blobs = Blobs()
    made = [squeezed(layer, compress) for layer in layers]
    descriptors = [blobs.put(blob, "application/vnd.oci.image.layer.v1.tar+gzip") for blob, _ in made]
    rootfs = {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]}
    image = blobs.image([], layer_descriptors=descriptors, config_changes={"rootfs": rootfs, "history": []})
    assert sum(len(blob) for blob, _ in made) < 10 * MIB
    return write_layout(tmp_path / "layout", blobs, {"latest": image})


def test_numbered_files_are_as_tarfile_writes_them():
    assert [numbered(at) for at in (0, 309_999)] == [member("file0000000"), member("file0309999")]
    assert numbered(5, 2048) == member("file0000005", 2048)


def check(tmp_path, layers, reason, compress=None):
    place = layout(tmp_path, layers, compress)
    target = tmp_path / "x.sif"
    target.write_bytes(b"old")
    ran = measured("--quiet", "pull", "--force", str(target), f"oci:{place}:latest", cwd=tmp_path)
    assert (ran.status, ran.err.count("\n")) == (1, 1), ran.err
    assert reason in ran.err
    assert "(a limit)" in ran.err
    assert "damaged" not in ran.err
    assert ran.memory < 256 * MIB
    assert ran.seconds < 5
    assert target.read_bytes() == b"old"
    assert list(tmp_path.rglob(".tmp-*")) == []


@pytest.mark.parametrize("spread", [1, 5])
@pytest.mark.parametrize("kind", MEMBERS)
def test_what_entries_take_follows_the_size_of_the_layers(tmp_path, kind, spread):
    count = COUNTS.get(kind, 1_700) // spread
    layers = [chain(map(MEMBERS[kind], range(at, at + count)), [bytes(1024)]) for at in range(0, spread * count, count)]
    check(tmp_path, layers, "raise layer-listing-bytes")


def test_several_layers_do_not_inflate_to_more_than_one_may(tmp_path):
    check(tmp_path, [data(f"a{number}", 600 * MIB) for number in range(2)], "raise inflate-ratio")


@pytest.mark.parametrize("spread", [1, 3])
def test_blocks_take_no_more_than_the_size_of_the_layers_makes_likely(tmp_path, spread):
    """Compressing takes time by what comes out of it: zstd sees that a MiB is repeated, squashfs's blocks do not."""
    noise = random.Random(15).randbytes(MIB)
    files = [
        [member(f"f{n}", 30 // spread * MIB), noise[n:], *[noise] * (30 // spread - 1), noise[:n]] for n in range(3)
    ]
    check(tmp_path, [[*file, bytes(1024)] for file in files[:spread]], "raise block-bytes", zstd.compress)


def test_equal_files_count_each_time_that_they_are_compressed(tmp_path):
    noise = random.Random(15).randbytes(MIB)
    layer = [piece for n in range(30) for piece in (member(f"f{n}", MIB), noise)]
    check(tmp_path, [[*layer, bytes(1024)]], "raise block-bytes", zstd.compress)


@pytest.mark.parametrize(("pieces", "fits"), [(384, True), (387, False)])
def test_files_and_their_bytes_count_together(pieces, fits):
    """Many files may take half of the time that an image may take, and many bytes the other half."""
    budget = ImageBudget(Limits(layer_listing_bytes=MIB))
    assert sum(map(len, budget.inflating([bytes(MIB)] * pieces))) == pieces * MIB
    with nullcontext() if fits else pytest.raises(LimitError, match="raise layer-listing-bytes"):
        assert len(list(budget.listing([Entry(b"%d" % at, FILE, 0, 0, 0, 0) for at in range(1000)]))) == 1000


def sparse(name, regions):
    """A member in GNU's format 1.0 with that many regions of a byte, every second one a hole."""
    table = b"%d\n" % regions + b"".join(b"%d\n1\n" % (2 * at) for at in range(regions))
    table += bytes(-len(table) % 512)
    records = {b"major": b"1", b"minor": b"0", b"realsize": b"%d" % (2 * regions), b"name": name}
    head = b"".join(extended_record(b"GNU.sparse." + key, value) for key, value in records.items())
    yield member("pax", len(head), b"x") + head + bytes(-len(head) % 512)
    yield member("x", len(table) + regions) + table + b"x" * regions + bytes(-regions % 512)


@pytest.mark.parametrize("spread", [1, 5])
def test_regions_of_all_sparse_files_count_together(tmp_path, spread):
    (tmp_path / "sifmake.yaml").write_text("limits: {sparse-regions: 100}\n")
    files = [list(sparse(b"f%d" % n, 90)) for n in range(5)]
    layers = [[*file, bytes(1024)] for file in files] if spread > 1 else [[*chain(*files), bytes(1024)]]
    check(tmp_path, layers, "raise sparse-regions")
