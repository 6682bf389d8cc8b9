"""Layer packs: what goes in comes out, damage is noticed, other codecs give the same files."""

import gzip
import hashlib
import io
import random
import zlib

import pytest

from sifmake.errors import IntegrityError, LayerError, PackDamagedError
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import BLOCK_SIZE, make_codec
from sifmake.layers.pack_reader import open_pack
from sifmake.layers.pack_writer import write_pack
from sifmake.layers.repack import repack
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci.model import Descriptor, Layer
from sifmake.progress import Silent
from support.images import compress
from support.layers import file, hardlink, layer_of, make_pack, tar
from support.packs import tamper

RANDOM = random.Random(3)
FILES = {
    "empty": b"",
    "one": b"1",
    "text": b"words and words and words " * 3000,
    "noise": RANDOM.randbytes(100_000),
    "just-below": b"x" * (BLOCK_SIZE - 1),
    "block": RANDOM.randbytes(BLOCK_SIZE),
    "block+1": b"y" * (BLOCK_SIZE + 1),
    "blocks": b"z" * 3 * BLOCK_SIZE,
    "zeros": bytes(5 * BLOCK_SIZE + 7),
    "holes": b"a" + bytes(4 * BLOCK_SIZE) + b"b" * 200_000,
    "noise-large": RANDOM.randbytes(1_000_003),
    "twin": RANDOM.randbytes(300_000),
}
FILES |= {"zero-tail-1": bytes(BLOCK_SIZE - 1000), "zero-tail-2": bytes(1000)}  # a full fragment block of zeros
FILES["twin-2"] = FILES["twin"]
FILES["one-2"] = FILES["one"]


def layer() -> bytes:
    return tar(*(file(name, data) for name, data in FILES.items()), hardlink("link", "text"))


def contents(pack):
    return {
        entry.path.decode(): pack.read_content(pack.contents[entry.content], entry.size) if entry.content >= 0 else b""
        for entry in pack.entries()
        if entry.path != b"link"
    }


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_every_file_comes_back(compression, tmp_path):
    with make_pack(tmp_path / "p", layer(), codec=make_codec(compression)) as pack:
        assert contents(pack) == FILES
        pack.check_data()
        by_path = {entry.path.decode(): entry for entry in pack.entries()}
        for name, data in FILES.items():
            if data:
                found = pack.contents[by_path[name].content]
                assert found.sha256 == hashlib.sha256(data).digest()
                assert found.size == len(data)
        # One file twice is stored once; a block of zeros takes no room.
        assert by_path["twin"].content == by_path["twin-2"].content
        assert pack.contents[by_path["holes"].content].sparse == 3 * BLOCK_SIZE


def test_data_blocks_are_zlib_streams_in_the_order_of_the_words(tmp_path):
    with make_pack(tmp_path / "p", layer()) as pack:
        entry = next(entry for entry in pack.entries() if entry.path == b"blocks")
        content = pack.contents[entry.content]
        words = memoryview(content.blocks).cast("I")
        raw = pack.read(content.start, content.stored)
        out, at = b"", 0
        for word in words:
            out += zlib.decompress(raw[at : at + word])
            at += word
        assert out == FILES["blocks"]


def test_two_packs_of_a_layer_are_equal_bytes_whatever_the_threads(tmp_path):
    make_pack(tmp_path / "a", layer()).close()
    make_pack(tmp_path / "b", layer(), blob=gzip.compress(layer())).close()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(("old", "new"), [("gzip", "zstd"), ("zstd", "gzip"), ("fast", "gzip"), ("gzip", "fast")])
def test_repacking_gives_the_pack_that_packing_gives(old, new, tmp_path):
    with (
        make_pack(tmp_path / "old", layer(), codec=make_codec(old)) as pack,
        Workers(2) as workers,
        (tmp_path / "new").open("wb") as out,
    ):
        repack(out, pack, make_codec(new), workers, Silent().task(""))
    with open_pack(tmp_path / "new") as again:
        assert contents(again) == FILES
        again.check_data()
    make_pack(tmp_path / "made", layer(), codec=make_codec(new)).close()
    assert (tmp_path / "new").read_bytes() == (tmp_path / "made").read_bytes()


@pytest.mark.parametrize("place", [0, 40_000, -1, -30, -3000])
def test_a_changed_byte_is_noticed(place, tmp_path):
    path = tmp_path / "p"
    make_pack(path, layer()).close()
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    with pytest.raises(PackDamagedError), open_pack(path) as pack:
        pack.check_data()


@pytest.mark.parametrize("size", [0, 10, 50_000, -1])
def test_a_cut_pack_is_not_a_pack(size, tmp_path):
    path = tmp_path / "p"
    make_pack(path, layer()).close()
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(PackDamagedError, match="complete layer pack"):
        open_pack(path)


def test_repacking_notices_a_file_that_is_not_what_the_index_says(tmp_path):
    raw = tar(file("a", b"a" * 1000))
    make_pack(tmp_path / "old", raw).close()
    tamper(tmp_path / "old", lambda parts: parts["contents"][0].__setitem__(0, bytes(32)))
    with (
        open_pack(tmp_path / "old") as pack,
        Workers(1) as workers,
        (tmp_path / "new").open("wb") as out,
        pytest.raises(PackDamagedError, match="is damaged"),
    ):
        repack(out, pack, make_codec("zstd"), workers, Silent().task(""))


def test_wrong_diff_id_digest_and_size_are_refused(tmp_path):
    raw = layer()
    good = layer_of(raw, raw)
    wrong = f"sha256:{'0' * 64}"
    skippable = b"\x50\x2a\x4d\x18" + bytes(4)
    cases = [
        ("uncompressed layer has the wrong digest", Layer(good.descriptor, wrong), raw),
        ("blob has the wrong digest", Layer(Descriptor("", wrong, len(raw)), good.diff_id), raw),
        ("blob is longer", Layer(Descriptor("", good.descriptor.digest, len(raw) - 1), good.diff_id), raw),
        ("blob ends after", Layer(Descriptor("", good.descriptor.digest, len(raw) + 1), good.diff_id), raw),
    ]
    # The DiffID is that of the compressed bytes: a layer that is its own DiffID is hashed once, but not these.
    compressed = (gzip.compress(raw), compress(raw, "zstd"), skippable + compress(raw, "zstd"))
    cases += [(f"uncompressed layer.*{good.diff_id}", layer_of(blob, blob), blob) for blob in compressed]
    for message, described, blob in cases:
        with Workers(1) as workers, (tmp_path / "p").open("wb") as out, pytest.raises(IntegrityError, match=message):
            write_pack(out, io.BytesIO(blob), described, make_codec("gzip"), workers, DEFAULT_LIMITS, Silent().task(""))


def test_what_is_not_a_tar_is_refused(tmp_path):
    page = b"<Error><Code>InvalidArgument</Code></Error>" * 100
    with pytest.raises(LayerError):
        make_pack(tmp_path / "p", page)


def test_b31_labels_of_selinux_stay_behind_and_are_said(tmp_path):
    xattrs = {"SCHILY.xattr.security.selinux": "system_u", "SCHILY.xattr.user.note": "kept"}
    with make_pack(tmp_path / "p", tar(file("a", b"a", pax_headers=xattrs))) as pack:
        assert pack.entries()[0].xattrs == ((b"user.note", b"kept"),)
        assert pack.meta.warnings == ["left out security.selinux of a"]


def test_b33_a_capability_comes_back_byte_by_byte(tmp_path):
    value = b"\x01\x00\x00\x02\x00\x20" + bytes(14)
    headers = {"SCHILY.xattr.security.capability": value.decode("latin-1")}
    with make_pack(tmp_path / "p", tar(file("ping", b"p", pax_headers=headers))) as pack:
        assert pack.entries()[0].xattrs == ((b"security.capability", value),)


def test_holes_are_bounded_by_what_the_blob_can_hold(tmp_path):
    """A sparse member of a few bytes may not claim more than a bomb may."""
    sparse = {"major": "1", "minor": "0", "name": "a", "realsize": str(5 << 30)}
    raw = tar(file("s", b"0\n".ljust(512, b"\0"), pax_headers={f"GNU.sparse.{k}": v for k, v in sparse.items()}))
    with pytest.raises(LayerError, match="files of more than"):
        make_pack(tmp_path / "p", raw)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("data", [b"", b"noise", "cut", "longer than said"])
def test_a_block_that_is_not_such_a_stream_is_damage(compression, data):
    codec = make_codec(compression)
    good = bytes(codec.compress(b"words " * 1000))
    bad = {"cut": good[:-3], "longer than said": good}.get(data, data)
    with pytest.raises(PackDamagedError):
        codec.inflate(bad, 6000 if data != "longer than said" else 5000)
