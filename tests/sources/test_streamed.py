"""Archives that are read once: every form, every order of members, from pipes that give each byte once only."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import threading
from contextlib import contextmanager

import pytest

from sifmake.errors import IntegrityError, SourceError
from sifmake.limits import Limits
from sifmake.oci import parse_platform
from sifmake.sources import open_source
from sifmake.sources.measuring import measure
from sifmake.sources.streamed import FileStream
from support.images import Blobs, compress, plain_tar, write_docker_archive, write_oci_archive
from support.layers import file, tar
from support.pulling import Memory, settings

AMD64 = parse_platform("amd64")
ONE, TWO, OTHER = tar(file("one", b"1" * 3000)), tar(file("two", b"2" * 70_000)), tar(file("other", b"3"))


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Kept:
    """A sink that keeps uncompressed layers in memory."""

    def __init__(self):
        self.made, self.kept, self.names, self.dropped = {}, {}, [], 0

    def take(self, candidate):
        data = io.BytesIO(b"".join(iter(lambda: candidate.reader.read(1000), b"")))
        assert len(data.getvalue()) == candidate.size
        assert data.getvalue().startswith(candidate.head)
        passed = measure(data, candidate.head, candidate.algorithm, Limits(), lambda _: None)
        raw = data.getvalue()
        self.made[passed.diff_id] = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        self.names.append(candidate.name)
        return passed

    def keep(self, diff_ids):
        self.kept |= {diff_id: self.made.pop(diff_id) for diff_id in self.made.keys() & diff_ids}
        self.drop()

    def drop(self):
        self.dropped += len(self.made)
        self.made = {}


@contextmanager
def piped(data, folder):
    """Give bytes through a fifo, which can be read once."""
    path = folder / "fifo"
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=(data,))
    thread.start()
    yield path
    thread.join()


def stream(uri, platform="amd64", known=None, **changes):
    """Return the image and the sink after what a pull does before it looks for packs."""
    sink = Kept()
    source = open_source(uri, settings(sink=sink, **changes))
    try:
        resolved = source.resolve(parse_platform(platform), known)
        image = source.image(resolved.manifest_digest)
    finally:
        source.close()
    return image, sink


@pytest.fixture
def blobs():
    return Blobs()


@pytest.fixture
def image(blobs):
    return blobs.image([ONE, TWO])


def docker_members(blobs, image, layers):
    manifest = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": list(layers)}]
    config = blobs[blobs.document(image)["config"]["digest"]]
    return {"c.json": config, "manifest.json": json.dumps(manifest).encode()}


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("inner", ["none", "gzip"])
def test_a_docker_archive_through_a_pipe(tmp_path, blobs, image, compression, inner):
    path = write_docker_archive(tmp_path / "x", blobs, {"x:1": image}, compression=compression, inner=inner)
    with piped(path.read_bytes(), tmp_path) as fifo:
        found, sink = stream(f"docker-archive:{fifo}")
    assert sink.kept == {digest(ONE): ONE, digest(TWO): TWO}
    assert [layer.descriptor.size for layer in found.layers] == [len(ONE), len(TWO)]
    plain = write_docker_archive(tmp_path / "plain", blobs, {"x:1": image})
    assert found == stream(f"docker-archive:{plain}")[0]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_layout_through_a_pipe(tmp_path, blobs, image, compression):
    path = write_oci_archive(tmp_path / "x", blobs, {"latest": image}, compression=compression)
    with piped(path.read_bytes(), tmp_path) as fifo:
        found, sink = stream(f"oci-archive:{fifo}")
    assert sink.kept == {digest(ONE): ONE, digest(TWO): TWO}
    assert found.digest == image["digest"]


@pytest.mark.parametrize("first", ["manifest.json", "c.json", "l/layer.tar", "link/layer.tar"])
def test_members_in_any_order_and_links(tmp_path, blobs, image, first):
    members = {"l/layer.tar": ONE, "link/layer.tar": "../l/layer.tar", "two.tar": TWO}
    members |= docker_members(blobs, image, ["link/layer.tar", "two.tar"])
    members = {first: members.pop(first), **members}
    with piped(plain_tar(members), tmp_path) as fifo:
        _, sink = stream(f"docker-archive:{fifo}")
    assert sink.kept == {digest(ONE): ONE, digest(TWO): TWO}
    assert sorted(sink.names) == ["l/layer.tar", "two.tar"]


def test_layers_of_other_images_are_dropped(tmp_path, blobs, image):
    other = blobs.image([ONE, OTHER])
    path = write_docker_archive(tmp_path / "x", blobs, {"a:1": image, "b:1": other}, compression="gzip")
    _, sink = stream(f"docker-archive:{path}:b:1")
    assert set(sink.kept) == {digest(ONE), digest(OTHER)}
    assert sink.dropped == 1


def test_an_archive_of_before_manifest_json_is_read_once(tmp_path):
    top, base = "a" * 64, "b" * 64
    members = {
        f"{base}/json": json.dumps({"os": "linux", "architecture": "amd64"}).encode(),
        f"{base}/layer.tar": ONE,
        f"{top}/json": json.dumps({"parent": base, "os": "linux", "architecture": "amd64"}).encode(),
        f"{top}/layer.tar": TWO,
        "repositories": json.dumps({"old": {"1": top}}).encode(),
    }
    with piped(plain_tar(members), tmp_path) as fifo:
        found, sink = stream(f"docker-archive:{fifo}:old:1")
    assert sink.kept == {digest(ONE): ONE, digest(TWO): TWO}
    assert found.config.diff_ids == (digest(ONE), digest(TWO))


def test_damaged_layers_that_nobody_wants_do_no_harm(tmp_path, blobs, image):
    members = {"bad.tar": gzip.compress(ONE)[:-9], "1": ONE, "2": TWO, **docker_members(blobs, image, "12")}
    with piped(plain_tar(members), tmp_path) as fifo:
        assert set(stream(f"docker-archive:{fifo}")[1].kept) == {digest(ONE), digest(TWO)}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (gzip.compress(ONE)[:-9], "bad.tar: the compressed stream is damaged"),
        (OTHER, "bad.tar: the layer does not have its DiffID"),
        (gzip.compress(OTHER), "bad.tar: the layer does not have its DiffID"),
    ],
    ids=["cut short", "another", "another, compressed"],
)
def test_a_damaged_layer_of_a_docker_archive_is_named(tmp_path, blobs, image, bad, words):
    members = {"bad.tar": bad, "2": TWO, **docker_members(blobs, image, ["bad.tar", "2"])}
    (tmp_path / "x").write_bytes(gzip.compress(plain_tar(members)))
    with pytest.raises(IntegrityError, match=words):
        stream(f"docker-archive:{tmp_path}/x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: gzip.compress(OTHER), "layer sha256:.*: the layer has the wrong size"),
        (lambda blob: blob[:9] + bytes([blob[9] ^ 1]) + blob[10:], "wrong digest: expected sha256:"),
        (lambda blob: blob[:-9] + b"123456789", "layer sha256:.*: the compressed stream is damaged"),
    ],
)
def test_a_damaged_layer_of_a_layout_is_named(tmp_path, blobs, image, change, words):
    layer = blobs.document(image)["layers"][0]["digest"]
    blobs.data[layer] = change(blobs.data[layer])
    path = write_oci_archive(tmp_path / "x", blobs, [image], compression="gzip")
    with pytest.raises(IntegrityError, match=words):
        stream(f"oci-archive:{path}")


def test_a_layout_with_a_wrong_diff_id(tmp_path, blobs):
    wrong = {"rootfs": {"type": "layers", "diff_ids": [digest(OTHER)]}}
    path = write_oci_archive(tmp_path / "x", blobs, [blobs.image([ONE], config_changes=wrong)], compression="zstd")
    with pytest.raises(IntegrityError, match="wrong DiffID: expected"):
        stream(f"oci-archive:{path}")


@pytest.mark.parametrize("cut", [100, 5000, 20_000])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_stream_that_ends_early(tmp_path, blobs, image, cut, compression):
    path = write_docker_archive(tmp_path / "x", blobs, {"x:1": image})
    data = compress(path.read_bytes()[:cut], compression)
    sink = Kept()
    with piped(data, tmp_path) as fifo:
        source = open_source(f"docker-archive:{fifo}", settings(sink=sink))
        with pytest.raises(SourceError, match=r"truncated|not a tar archive"):
            source.resolve(AMD64)
        source.close()
    assert not sink.kept
    assert not sink.made


def test_damage_behind_the_last_member_counts(tmp_path, blobs, image):
    path = write_docker_archive(tmp_path / "x", blobs, {"x:1": image}, compression="gzip")
    path.write_bytes(path.read_bytes()[:-8] + b"badcrc!!")
    with pytest.raises(IntegrityError, match="compressed stream is damaged"):
        stream(f"docker-archive:{path}")


@pytest.fixture
def openings(monkeypatch):
    """Count how often an archive is begun."""
    counted = []
    begin = FileStream.open
    monkeypatch.setattr(FileStream, "open", lambda self: (counted.append(1), begin(self))[1])
    return counted


def age(path, seconds=100):
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


def test_an_unchanged_archive_is_not_read_again(tmp_path, blobs, image, openings, monkeypatch):
    monkeypatch.setattr("sifmake.sources.streamed.SETTLED", 0)
    path = write_docker_archive(tmp_path / "x", blobs, {"x:1": image, "y:1": blobs.image([OTHER])}, compression="gzip")
    memory = Memory()
    source = open_source(f"docker-archive:{path}:x:1", settings())
    first = source.resolve(AMD64, memory)
    source.close()
    assert len(openings) == 1
    again = open_source(f"docker-archive:{path}:x:1", settings())
    assert again.resolve(AMD64, memory) == first
    assert len(openings) == 1
    assert open_source(f"docker-archive:{path}:y:1", settings()).resolve(AMD64, memory) != first
    write_docker_archive(tmp_path / "x", blobs, {"x:1": blobs.image([TWO])}, compression="gzip")
    assert open_source(f"docker-archive:{path}:x:1", settings()).resolve(AMD64, memory) != first
    again.close()


@pytest.mark.parametrize("dated_back", [False, True])
def test_an_archive_that_was_written_over_is_read_again(tmp_path, blobs, image, monkeypatch, dated_back):
    """Same inode, same size, and where someone sets it back, the same time of modification."""
    monkeypatch.setattr("sifmake.sources.streamed.SETTLED", 0)
    path = write_docker_archive(tmp_path / "x", blobs, {"x:1": image}, compression="zstd")
    other = write_docker_archive(tmp_path / "y", blobs, {"x:1": blobs.image([OTHER])}, compression="zstd").read_bytes()
    size = max(path.stat().st_size, len(other)) + 100
    path.write_bytes(padded(path.read_bytes(), size))
    before, memory = path.stat(), Memory()
    first = open_source(f"docker-archive:{path}", settings()).resolve(AMD64, memory)
    with path.open("r+b") as file:
        file.write(padded(other, size))
    if dated_back:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, before.st_size)
    assert open_source(f"docker-archive:{path}", settings()).resolve(AMD64, memory) != first


def padded(data, size):
    """Return a zstd stream with a skippable frame behind it (RFC 8878, section 3.1.2)."""
    left = size - len(data) - 8
    return data + b"\x50\x2a\x4d\x18" + left.to_bytes(4, "little") + bytes(left)


def test_an_archive_that_was_changed_just_now_is_not_trusted_to_stay(tmp_path, blobs, image):
    path = write_docker_archive(tmp_path / "x", blobs, {"x:1": image}, compression="gzip")
    memory = Memory()
    stream(f"docker-archive:{path}", known=memory)
    assert memory.known == {}


def test_documents_beyond_the_bound_are_read_again(tmp_path, blobs, image, openings):
    path = write_oci_archive(tmp_path / "x", blobs, [image], compression="gzip")
    found, sink = stream(f"oci-archive:{path}", limits=Limits(documents_bytes=10))
    assert found.digest == image["digest"]
    assert set(sink.kept) == {digest(ONE), digest(TWO)}
    assert len(openings) > 1


def test_a_layer_that_went_by_can_still_be_opened_but_not_from_a_pipe(tmp_path, blobs, image):
    path = write_docker_archive(tmp_path / "x", blobs, {"x:1": image}, compression="gzip")
    source = open_source(f"docker-archive:{path}", settings())
    found = source.image(source.resolve(AMD64).manifest_digest)
    with source.open_layer(found.layers[1]) as reader:
        assert b"".join(iter(lambda: reader.read(999), b"")) == TWO
    source.close()
    with piped(path.read_bytes(), tmp_path) as fifo:
        source = open_source(f"docker-archive:{fifo}", settings())
        found = source.image(source.resolve(AMD64).manifest_digest)
        with pytest.raises(SourceError, match="a pipe can be read only once"), source.open_layer(found.layers[0]):
            pass
        source.close()
