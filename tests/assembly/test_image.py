"""SIF files from packs: read back by other programs, nothing dead inside, equal bytes each time."""

import hashlib
import random
import zlib
from contextlib import ExitStack
from pathlib import Path

import pytest

from sifmake.assembly.image import Document, SifContents, SifSummary, write_sif
from sifmake.errors import PackDamagedError
from sifmake.flatten.flattened import flatten, load
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import BLOCK_SIZE, make_codec
from sifmake.layers.entry import FILE, Inode
from sifmake.progress import Silent
from sifmake.sif import DataType, open_sif
from support.layers import file, flatten_layers, folder, hardlink, make_pack, tar
from support.sif_files import partition_of
from support.squashfs_tools import extract, kernel_mount, needs_kernel, needs_tools, read_rows, unsquashfs

RANDOM = random.Random(5)


def noise(size: int) -> bytes:
    """Bytes that no codec makes smaller, so that an image holds them as they are."""
    return RANDOM.randbytes(size)


def write(target: Path, flattened, packs, *, files=(), compression="gzip") -> SifSummary:
    documents = [Document(DataType.DEFINITION, "", b"bootstrap: test\n"), Document(DataType.GENERIC_JSON, "a", b"{}")]
    contents = SifContents(
        documents, [Document(DataType.GENERIC_JSON, "z", b"[]")], flattened.tree, files, packs, "amd64", 1_600_000_000
    )
    with Workers(2) as workers:
        return write_sif(target, contents, make_codec(compression), workers, Silent().task(""))


def build(folder_: Path, layers, name="x.sif") -> Path:
    folder_.mkdir(exist_ok=True)
    with ExitStack() as stack:
        flattened, packs = flatten_layers(folder_, layers, stack)
        write(folder_ / name, flattened, packs)
    return folder_ / name


def test_objects_stand_where_the_descriptors_say_and_have_the_digests_of_the_summary(tmp_path):
    with ExitStack() as stack:
        flattened, packs = flatten_layers(tmp_path, [tar(file("a", b"x" * 300_000))], stack)
        summary = write(tmp_path / "x.sif", flattened, packs)
    raw = (tmp_path / "x.sif").read_bytes()
    assert summary.size == len(raw)
    with open_sif(tmp_path / "x.sif") as sif:
        rows = {item.id: item for item in sif.objects}
    assert [rows[n].data_type for n in (1, 2, 3, 4)] == [0x4001, 0x4006, 0x4004, 0x4006]
    assert rows[3].offset % 4096 == 0
    for number, digest in summary.objects.items():
        data = raw[rows[number].offset : rows[number].offset + rows[number].size]
        assert hashlib.sha256(data).hexdigest() == digest


@needs_tools("unsquashfs")
def test_no_deleted_byte_survives(tmp_path):
    secret_block, secret_tail, kept = noise(BLOCK_SIZE), noise(3000), noise(5000)
    lower = tar(file("large", secret_block + noise(10)), file("tail", secret_tail), file("kept", kept))
    image = build(tmp_path, [lower, tar(file(".wh.large"), file(".wh.tail"))])
    raw = image.read_bytes()
    assert kept[:4000] in raw
    assert secret_block[:64] not in raw
    assert secret_tail[:64] not in raw
    assert (extract(partition_of(image), tmp_path / "out") / "kept").read_bytes() == kept


@needs_tools("unsquashfs")
def test_a_content_of_several_layers_is_stored_once(tmp_path):
    large, small = noise(3 * BLOCK_SIZE + 5), noise(9000)
    layers = [tar(file("a", large), file("b", small), file("other", noise(100)))]
    layers += [tar(file("c", large), file("d", small), file("a", large, mode=0o600))]
    image = build(tmp_path, layers)
    raw = image.read_bytes()
    assert raw.count(large[:64]) == raw.count(small[:64]) == 1
    out = extract(partition_of(image), tmp_path / "out")
    assert (out / "a").read_bytes() == (out / "c").read_bytes() == large
    assert (out / "d").read_bytes() == small


@needs_kernel
@needs_tools("unsquashfs")
@pytest.mark.parametrize("compression", ["gzip", "fast", "zstd"])
def test_patched_and_added_files_read_back(compression, tmp_path):
    """Fragments that lose tails, files that no pack has, of all sizes: as the kernel reads them."""
    bodies = {f"f{n}": noise(n * 977 + 1) for n in range(150)} | {"big": bytes(BLOCK_SIZE) + noise(200_000)}
    lower = tar(folder("d"), *(file(f"d/{name}", data) for name, data in bodies.items()))
    upper = tar(*(file(f"d/.wh.f{n}") for n in range(0, 150, 3)), hardlink("link", "d/big"))
    extra = {"small": b"added", "none": b"", "blocks": noise(2 * BLOCK_SIZE), "same": bodies["f1"]}
    packs = []
    with ExitStack() as stack:
        for number, raw in enumerate((lower, upper)):
            path = tmp_path / f"{number}.pack"
            packs.append(stack.enter_context(make_pack(path, raw, codec=make_codec(compression))))
        flattened = flatten(packs, epoch=0)
        files = [(Inode(name.encode(), FILE, 0o644, 0, 0, 0, len(data)), data) for name, data in extra.items()]
        for inode, _ in files:
            flattened.tree.root.children[inode.path] = inode
        write(tmp_path / "x.sif", flattened, packs, files=files, compression=compression)
    want = {f"d/{name}": data for name, data in bodies.items() if name == "big" or int(name[1:]) % 3}
    want |= extra | {"link": bodies["big"]}
    with kernel_mount(partition_of(tmp_path / "x.sif"), tmp_path / "mnt") as top:
        rows = read_rows(top)
    got = {path.decode(): row.sha256 for path, row in rows.items() if row.type == "f"}
    assert got == {path: hashlib.sha256(data).hexdigest() for path, data in want.items()}
    assert rows[b"link"].group == b"d/big"


def test_the_same_layers_give_the_same_bytes_and_another_cut_the_same_tree(tmp_path):
    entries = [file(f"f{n}", noise(n * 1000)) for n in range(30)]
    one = build(tmp_path / "one", [tar(*entries)])
    two = build(tmp_path / "two", [tar(*entries)])
    cut = build(tmp_path / "cut", [tar(*entries[:10]), tar(*entries[10:])])
    assert one.read_bytes() == two.read_bytes()
    assert cut.stat().st_size == one.stat().st_size


def test_a_tree_file_gives_the_same_image_as_the_tree_in_memory(tmp_path):
    layers = [tar(folder("d", mode=0o700), file("d/a", noise(200_000)), hardlink("b", "d/a")), tar(file("c", b"c"))]
    with ExitStack() as stack:
        flattened, packs = flatten_layers(tmp_path, layers, stack)
        flatten(packs, 0, path=tmp_path / "tree")
        loaded = load(tmp_path / "tree", packs)
        assert loaded.digest == flattened.digest
        write(tmp_path / "memory.sif", flattened, packs)
        write(tmp_path / "file.sif", loaded, packs)
    assert (tmp_path / "memory.sif").read_bytes() == (tmp_path / "file.sif").read_bytes()


def test_a_damaged_pack_makes_no_image_and_leaves_the_old_one(tmp_path):
    target = tmp_path / "x.sif"
    target.write_bytes(b"old")
    inode = target.stat().st_ino
    with ExitStack() as stack:
        flattened, packs = flatten_layers(tmp_path, [tar(file("a", noise(400_000)))], stack)
        with (tmp_path / "0.pack").open("r+b") as pack:
            pack.seek(1000)
            pack.write(b"\0\1\2\3")
        with pytest.raises(PackDamagedError):
            write(target, flattened, packs)
    assert (target.read_bytes(), target.stat().st_ino) == (b"old", inode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.pack", "x.sif"]


@needs_tools("unsquashfs")
def test_a_hole_takes_no_room_and_an_image_ends_on_4_kib(tmp_path):
    image = build(tmp_path, [tar(file("hole", bytes(50 * BLOCK_SIZE)), file("zip", zlib.compress(noise(500))))])
    squashfs = partition_of(image)
    assert squashfs.stat().st_size % 4096 == 0
    assert squashfs.stat().st_size == 4096
    assert str(50 * BLOCK_SIZE) in unsquashfs("-lls", squashfs)
