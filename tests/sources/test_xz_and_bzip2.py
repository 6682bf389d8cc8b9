"""Archives and layers that xz or bzip2 compressed, as docker load takes them, and links that lead to nothing."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import os
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

import sifmake
from sifmake.builder.pull import PullRequest
from sifmake.builder.pull import pull as pull_sif
from sifmake.errors import IntegrityError, LimitError, SourceError
from sifmake.limits import MIB, Limits
from sifmake.progress import Silent
from sifmake.project.configuration import Configuration
from support.images import Blobs, plain_tar, write_docker_archive, write_layout, write_oci_archive
from support.layers import file, tar
from support.measured import measured
from support.pulling import pull

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = tar(file("one", b"one" * 1000)), tar(file("two", b"two" * 500))
WAYS = {"xz": lzma.compress, "bz2": bz2.compress}
MEMORY, SECONDS = 256 * MIB, 5.0


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def saved(tmp_path: Path, blobs: Blobs) -> bytes:
    return write_docker_archive(tmp_path / "plain.tar", blobs, {"x:1": blobs.image([ONE, TWO])}).read_bytes()


def rewritten(archive: bytes, change) -> bytes:
    """Return a tar archive with the data of its layers changed."""
    members = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as old:
        for member in old:
            if member.isfile():
                data = old.extractfile(member).read()
                members[member.name] = change(data) if data in (ONE, TWO) else data
    return plain_tar(members)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["archive", "layers"])
def test_h6_what_docker_load_takes_gives_the_same_image(tmp_path: Path, saved: bytes, way: str, where: str) -> None:
    compress = WAYS[way]
    data = compress(saved) if where == "archive" else rewritten(saved, compress)
    (tmp_path / "x.tar").write_bytes(data)
    pulled = pull(f"docker-archive:{tmp_path}/x.tar")
    assert pulled.blobs == [ONE, TWO]
    assert pulled.image == pull(f"docker-archive:{tmp_path}/plain.tar").image


def piped(tmp_path: Path, data: bytes) -> str:
    """Return the URI of a named pipe that somebody writes an archive into."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    threading.Thread(target=lambda: path.write_bytes(data), daemon=True).start()
    return f"docker-archive:{path}"


@pytest.mark.parametrize("way", WAYS)
def test_f13_layers_of_a_piped_archive_may_be_compressed(tmp_path: Path, saved: bytes, way: str) -> None:
    """A pipe is read once: its layers become packs as they pass."""
    target = tmp_path / "out.sif"
    request = PullRequest(piped(tmp_path, rewritten(saved, WAYS[way])), target)
    pull_sif(request, Silent(), Configuration(store=tmp_path / "s"))
    plain = PullRequest(f"docker-archive:{tmp_path}/plain.tar", tmp_path / "plain.sif")
    pull_sif(plain, Silent(), Configuration(store=tmp_path / "t"))
    assert sifmake.digest(target) == sifmake.digest(plain.target)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [20, -20])
def test_f13_a_damaged_layer_of_a_piped_archive_is_refused(tmp_path: Path, saved: bytes, way: str, at: int) -> None:
    def spoil(data: bytes) -> bytes:
        spoilt = bytearray(WAYS[way](data))
        spoilt[at] ^= 1
        return bytes(spoilt)

    with pytest.raises(IntegrityError):
        pull(piped(tmp_path, rewritten(saved, spoil)))


@pytest.mark.parametrize("way", WAYS)
def test_h6_an_oci_archive_may_be_compressed_too(tmp_path: Path, blobs: Blobs, way: str) -> None:
    plain = write_oci_archive(tmp_path / "plain.tar", blobs, {"1": blobs.image([ONE])}).read_bytes()
    (tmp_path / "x.tar").write_bytes(WAYS[way](plain))
    assert pull(f"oci-archive:{tmp_path}/x.tar:1").image == pull(f"oci-archive:{tmp_path}/plain.tar:1").image


@pytest.mark.parametrize("way", WAYS)
def test_streams_that_follow_one_another_are_one(tmp_path: Path, saved: bytes, way: str) -> None:
    half = len(saved) // 2
    parts = [WAYS[way](saved[:half]), WAYS[way](saved[half:])]
    for number, data in enumerate((b"".join(parts), b"".join(parts) + bytes(512), bytes(4).join(parts))):
        (tmp_path / f"{number}.tar").write_bytes(data)
        assert pull(f"docker-archive:{tmp_path}/{number}.tar").blobs == [ONE, TWO]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", ["cut", "junk", "flipped"])
def test_what_is_damaged_is_refused(tmp_path: Path, saved: bytes, way: str, fault: str) -> None:
    data = WAYS[way](saved)
    middle = len(data) // 2
    data = {
        "cut": data[:-20],
        "junk": data + b"junk behind it",
        "flipped": data[:middle] + bytes([data[middle] ^ 0x40]) + data[middle + 1 :],
    }[fault]
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(IntegrityError):
        pull(f"docker-archive:{tmp_path}/x.tar")


def test_a_small_file_with_the_name_of_bzip2_is_not_an_archive(tmp_path: Path, blobs: Blobs) -> None:
    """A tar's first member may well be called BZh91, and a layer's, too."""
    layer = tar(file("BZh91AX", b"x"))
    write_docker_archive(tmp_path / "x.tar", blobs, {"x:1": blobs.image([layer])})
    assert pull(f"docker-archive:{tmp_path}/x.tar").blobs == [layer]


def test_memory_for_xz_is_limited(tmp_path: Path, saved: bytes) -> None:
    """A header may ask for 4 GiB; xz -9 asks for 64 MiB and is taken."""
    (tmp_path / "nine.tar").write_bytes(lzma.compress(saved, preset=9))
    assert pull(f"docker-archive:{tmp_path}/nine.tar").blobs == [ONE, TWO]
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 96 * MIB, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3}]
    (tmp_path / "big.tar").write_bytes(lzma.compress(saved, filters=filters))
    with pytest.raises(LimitError, match=r"needs more than 83886080 bytes of memory.*xz-memory-bytes"):
        pull(f"docker-archive:{tmp_path}/big.tar")
    limits = Limits(xz_memory_bytes=200 * MIB)
    assert pull(f"docker-archive:{tmp_path}/big.tar", limits=limits).blobs == [ONE, TWO]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["archive", "layer"])
def test_a_bomb_costs_little(tmp_path: Path, way: str, where: str) -> None:
    new = {"xz": lzma.LZMACompressor, "bz2": bz2.BZ2Compressor}[way]()
    header = tarfile.TarInfo("zeros")
    header.size = 20 * 16 * MIB
    zeros = bytes(16 * MIB)
    bomb = b"".join([new.compress(header.tobuf()), *(new.compress(zeros) for _ in range(20)), new.flush()])
    path = tmp_path / "x.tar"
    path.write_bytes(bomb)
    if where == "layer":
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{'0' * 64}"]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
        manifest = [{"Config": "c.json", "RepoTags": None, "Layers": ["l.tar"]}]
        documents = {"manifest.json": json.dumps(manifest).encode(), "c.json": config}
        path.write_bytes(plain_tar({**documents, "l.tar": bomb}))
    ran = measured("pull", "out.sif", f"docker-archive:{path}", cwd=tmp_path)
    assert ran.status == 1
    assert "decompression bomb" in ran.err
    assert (ran.memory < MEMORY, ran.seconds < SECONDS) == (True, True)
    assert not (tmp_path / "out.sif").exists()


def test_one_of_archive_and_layer_is_compressed(tmp_path: Path, saved: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(lzma.compress(rewritten(saved, bz2.compress)))
    with pytest.raises(IntegrityError, match="compressed again inside the archive; unpack the archive first"):
        pull(f"docker-archive:{tmp_path}/x.tar")


@pytest.mark.parametrize("compressed", [False, True])
def test_h3_a_link_to_nothing_is_named_with_its_target(tmp_path: Path, blobs: Blobs, *, compressed: bool) -> None:
    """A vendor's archive: the target is at the archive's root, the link says that it is beside it."""
    image = blobs.image([ONE])
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        config = blobs[blobs.document(image)["config"]["digest"]]
        manifest = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["e/layer.tar"]}]
        for name, data in (("c.json", config), ("manifest.json", json.dumps(manifest).encode()), (".b.tar", ONE)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("e/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, ".b.tar"
        archive.addfile(link)
    (tmp_path / "x.tar").write_bytes(lzma.compress(out.getvalue()) if compressed else out.getvalue())
    with pytest.raises(
        SourceError,
        match=r"e/layer.tar: is a link to 'e/.b.tar', which is not in the archive; the archive is incomplete; save",
    ):
        pull(f"docker-archive:{tmp_path}/x.tar")


def test_layers_of_registries_are_as_before(tmp_path: Path, blobs: Blobs) -> None:
    """The OCI specification has no xz: where a layout or a registry has one, its media type is wrong."""
    layer = blobs.put(lzma.compress(ONE), "application/vnd.oci.image.layer.v1.tar+gzip")
    layout = write_layout(tmp_path / "lay", blobs, {"1": blobs.image([ONE], layer_descriptors=[layer])})
    ran = measured("pull", "out.sif", f"oci:{layout}:1", cwd=tmp_path)
    assert ran.status == 1
    assert "compressed with xz, which image layers do not use" in ran.err
