"""Patches kept in the store change how long a build takes, never its bytes; damaged ones are made again."""

import errno
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from isal.isal_zlib import crc32

from sifmake.assembly import patches
from sifmake.assembly.image import SifContents, write_sif
from sifmake.assembly.patch_file import FOOTER, MAGIC, PATCH_VERSION, load_patch
from sifmake.assembly.tails import GROUP
from sifmake.errors import PackDamagedError
from sifmake.flatten.flattened import flatten
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import BLOCK_SIZE, make_codec
from sifmake.layers.pack_reader import open_pack
from sifmake.progress import Silent
from sifmake.store import Store
from sifmake.store.items import list_items
from support.layers import file, make_pack, tar
from support.messages import Messages

RANDOM = random.Random(7)
FILES = {f"f{n:03}": RANDOM.randbytes(30_000) * 2 for n in range(2 * GROUP + 9)}
"""Two to a fragment block, so that they fill a group of blocks and a few of the next."""
GROUPS = 2
LOWER = tar(file("large", RANDOM.randbytes(3 * BLOCK_SIZE)), *(file(name, data) for name, data in FILES.items()))
EVERY_OTHER = tar(*(file(f".wh.{name}") for name in list(FILES)[::2]))


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """Paths of the packs of all layers, made once."""
    folder = tmp_path_factory.mktemp("packs")
    made = {}

    def path_of(raw: bytes) -> Path:
        if raw not in made:
            made[raw] = folder / f"{len(made)}.pack"
            make_pack(made[raw], raw).close()
        return made[raw]

    return path_of


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", progress=Messages())


@pytest.fixture
def compressed(monkeypatch):
    """The groups of tails that were compressed since."""
    done = []
    real = patches.compress_group

    def counted(pack, group, codec):
        done.append(group.key)
        return real(pack, group, codec)

    monkeypatch.setattr(patches, "compress_group", counted)
    return done


def build(paths: list[Path], target: Path, store: Store | None) -> bytes:
    with ExitStack() as stack:
        opened = [stack.enter_context(open_pack(path)) for path in paths]
        contents = SifContents([], [], flatten(opened, epoch=0).tree, [], opened, "amd64", 0)
        workers = stack.enter_context(Workers(2))
        write_sif(target, contents, make_codec("gzip"), workers, Silent().task(""), store)
    return target.read_bytes()


def kept(store: Store) -> list[Path]:
    return [item.path for item in list_items(store.root, "patches")]


def test_the_bytes_are_the_same_with_and_without_what_the_store_keeps(packs, store, compressed, tmp_path):
    paths = [packs(LOWER), packs(EVERY_OTHER)]
    without = build(paths, tmp_path / "x.sif", None)
    missed = build(paths, tmp_path / "x.sif", store)
    assert len(kept(store)) == 1
    assert len(compressed) == 2 * GROUPS
    hit = build(paths, tmp_path / "x.sif", store)
    assert without == missed == hit
    assert len(compressed) == 2 * GROUPS


def test_another_top_layer_compresses_nothing_of_the_others_again(packs, store, compressed, tmp_path):
    build([packs(LOWER), packs(EVERY_OTHER), packs(tar(file("top", b"1")))], tmp_path / "x.sif", store)
    compressed.clear()
    changed = [packs(LOWER), packs(EVERY_OTHER), packs(tar(file("top", b"2")))]
    found = build(changed, tmp_path / "x.sif", store)
    assert compressed == []
    assert found == build(changed, tmp_path / "x.sif", None)


def test_a_file_more_that_is_deleted_costs_one_group(packs, store, compressed, tmp_path):
    build([packs(LOWER), packs(EVERY_OTHER)], tmp_path / "x.sif", store)
    compressed.clear()
    changed = [packs(LOWER), packs(EVERY_OTHER), packs(tar(file(".wh.f001")))]
    found = build(changed, tmp_path / "x.sif", store)
    assert len(compressed) == 1
    assert len(kept(store)) == 2
    assert found == build(changed, tmp_path / "x.sif", None)


DAMAGE = {
    "data": lambda raw: raw[:5000] + bytes([raw[5000] ^ 1]) + raw[5001:],
    "index": lambda raw: raw[:-60] + bytes([raw[-60] ^ 1]) + raw[-59:],
    "footer": lambda raw: raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:],
    "truncated": lambda raw: raw[:-1],
    "cut in front": lambda raw: raw[1:],
    "empty": lambda _: b"",
    "zeros": lambda raw: bytes(len(raw)),
    "tail only": lambda raw: raw[-28:],
}


@pytest.mark.parametrize("kind", [*DAMAGE, "another's"])
def test_a_damaged_patch_is_made_again(kind, packs, store, compressed, tmp_path):
    paths = [packs(LOWER), packs(EVERY_OTHER)]
    good = build(paths, tmp_path / "x.sif", store)
    (path,) = kept(store)
    whole = path.read_bytes()
    if kind == "another's":
        other = Store(tmp_path / "other")
        build([packs(LOWER), packs(tar(*(file(f".wh.{name}") for name in list(FILES)[1::2])))], tmp_path / "y", other)
        path.write_bytes(kept(other)[0].read_bytes())
    else:
        path.write_bytes(DAMAGE[kind](whole))
    compressed.clear()
    assert build(paths, tmp_path / "x.sif", store) == good
    assert len(compressed) == GROUPS
    assert "will be rebuilt" in store.progress.warnings[0]
    assert path.read_bytes() == whole


def test_a_damaged_group_of_a_similar_patch_is_not_taken(packs, store, compressed, tmp_path):
    build([packs(LOWER), packs(EVERY_OTHER)], tmp_path / "x.sif", store)
    (path,) = kept(store)
    path.write_bytes(DAMAGE["data"](path.read_bytes()))
    compressed.clear()
    changed = [packs(LOWER), packs(EVERY_OTHER), packs(tar(file(".wh.f071")))]
    found = build(changed, tmp_path / "x.sif", store)
    assert len(compressed) == 2
    assert found == build(changed, tmp_path / "x.sif", None)


def test_a_patch_of_another_pack_under_a_similar_name_is_not_taken(packs, store, compressed, tmp_path):
    """Its groups have the same layout, and so the same keys: only the patch's own key tells."""
    chance = random.Random(8)
    twin = tar(
        file("large", chance.randbytes(3 * BLOCK_SIZE)), *(file(name, chance.randbytes(30_000) * 2) for name in FILES)
    )
    build([packs(LOWER), packs(EVERY_OTHER)], tmp_path / "x.sif", store)
    (path,) = kept(store)
    other = Store(tmp_path / "other")
    build([packs(twin), packs(EVERY_OTHER)], tmp_path / "y.sif", other)
    path.write_bytes(kept(other)[0].read_bytes())
    compressed.clear()
    changed = [packs(LOWER), packs(EVERY_OTHER), packs(tar(file(".wh.f071")))]
    assert build(changed, tmp_path / "x.sif", store) == build(changed, tmp_path / "x.sif", None)
    assert any("it belongs to another pack" in text for text in store.progress.warnings)


def tampered(path, change):
    """Write other groups into a patch, with checksums that fit."""
    with path.open("rb") as file:
        patch = load_patch(file.fileno(), path.name)
    size = sum(group.stored for group in patch.index.groups)
    index = msgspec.msgpack.encode(change(msgspec.to_builtins(patch.index)))
    footer = FOOTER.pack(MAGIC, PATCH_VERSION, crc32(index), len(index), 0)[:-4]
    path.write_bytes(path.read_bytes()[:size] + index + footer + crc32(footer).to_bytes(4, "little"))


def words(change):
    def changed(index):
        index["groups"] = [[key, change(list(words)), crc] for key, words, crc in index["groups"]]
        return index

    return changed


TAMPERED = {
    "no map": lambda _: [],
    "no groups": lambda index: {**index, "groups": None},
    "negative word": words(lambda found: [-1, *found[1:]]),
    "word of 26 bits": words(lambda found: [found[0] | 1 << 25, *found[1:]]),
    "word of 64 bits": words(lambda found: [found[0] + (1 << 62), *found[1:]]),
    "an empty block": words(lambda found: [0, *found]),
    "more than a block": words(lambda found: [found[0] + found[1], *found[2:]]),
}


@pytest.mark.parametrize("which", TAMPERED)
def test_a_tampered_patch_is_made_again(which, packs, store, compressed, tmp_path):
    paths = [packs(LOWER), packs(EVERY_OTHER)]
    good = build(paths, tmp_path / "x.sif", store)
    (path,) = kept(store)
    whole = path.read_bytes()
    tampered(path, TAMPERED[which])
    assert build(paths, tmp_path / "x.sif", store) == good
    assert "will be rebuilt" in store.progress.warnings[0]
    assert path.read_bytes() == whole


def test_a_fifo_is_not_a_patch(packs, store, compressed, tmp_path):
    paths = [packs(LOWER), packs(EVERY_OTHER)]
    good = build(paths, tmp_path / "x.sif", store)
    (path,) = kept(store)
    path.unlink()
    os.mkfifo(path)
    assert build(paths, tmp_path / "x.sif", store) == good


def test_patches_of_a_read_only_store_are_used(packs, store, compressed, tmp_path):
    paths = [packs(LOWER), packs(EVERY_OTHER)]
    good = build(paths, tmp_path / "x.sif", store)
    compressed.clear()
    own = Store(tmp_path / "own", (store.root,))
    assert build(paths, tmp_path / "x.sif", own) == good
    assert compressed == kept(own) == []


def test_a_store_that_takes_nothing_is_not_an_obstacle(packs, store, tmp_path, monkeypatch):
    paths = [packs(LOWER), packs(EVERY_OTHER)]
    good = build(paths, tmp_path / "x.sif", None)
    (tmp_path / "file").touch()
    nowhere = Store(tmp_path / "file" / "store", progress=Messages())
    assert build(paths, tmp_path / "x.sif", nowhere) == good
    assert any("cannot keep a patch in the store" in said for said in nowhere.progress.warnings)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(patches, "write_index", full)
    assert build(paths, tmp_path / "x.sif", store) == good
    assert "No space left" in store.progress.warnings[0]
    assert [path for path in (store.root / "patches").rglob("*") if path.is_file()] == []


def test_a_full_disk_at_the_last_moment_is_not_an_obstacle(packs, store, tmp_path, monkeypatch):
    paths = [packs(LOWER), packs(EVERY_OTHER)]
    good = build(paths, tmp_path / "x.sif", None)
    real = os.fsync

    def fsync(fd):
        if "/patches/" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    assert build(paths, tmp_path / "x.sif", store) == good
    assert "Disk quota exceeded" in store.progress.warnings[0]
    assert [path for path in (store.root / "patches").rglob("*") if path.is_file()] == []


def test_nothing_is_kept_of_a_damaged_pack(packs, store, tmp_path):
    lower = tmp_path / "0.pack"
    raw = bytearray(packs(LOWER).read_bytes())
    raw[1000] ^= 1
    lower.write_bytes(raw)
    with pytest.raises(PackDamagedError):
        build([lower, packs(EVERY_OTHER)], tmp_path / "x.sif", store)
    assert [path for path in (store.root / "patches").rglob("*") if path.is_file()] == []


def test_what_is_made_in_no_time_is_not_kept(packs, store, tmp_path):
    few = tar(*(file(f"f{n}", RANDOM.randbytes(30_000)) for n in range(20)))
    build([packs(few), packs(tar(*(file(f".wh.f{n}") for n in range(0, 20, 2))))], tmp_path / "x.sif", store)
    assert not (store.root / "patches").exists()


def test_builds_at_the_same_time_give_the_same_bytes_and_one_patch(packs, store, tmp_path):
    paths = [packs(LOWER), packs(EVERY_OTHER)]
    good = build(paths, tmp_path / "x.sif", None)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: build(paths, tmp_path / f"{n}.sif", store), range(4)))
    assert found == [good] * 4
    assert [path.name.startswith(".tmp-") for path in (store.root / "patches").rglob("*-*")] == [False]
    assert store.progress.warnings == []


KILLED = """
import os, signal, sys
from pathlib import Path
from sifmake.assembly import patches
import test_patches
patches.write_index = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
test_patches.build([Path(name) for name in sys.argv[3:]], Path(sys.argv[1]), test_patches.Store(Path(sys.argv[2])))
"""


def test_a_killed_build_leaves_nothing_that_looks_finished(packs, store, compressed, tmp_path):
    paths = [packs(LOWER), packs(EVERY_OTHER)]
    environ = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}"}
    command = [sys.executable, "-c", KILLED, tmp_path / "x.sif", store.root, *paths]
    assert subprocess.run(command, env=environ, check=False).returncode == -signal.SIGKILL
    assert kept(store) == []
    left = [path for path in (store.root / "patches").rglob("*") if path.is_file()]
    assert len(left) == 1
    assert build(paths, tmp_path / "x.sif", store) == build(paths, tmp_path / "y.sif", None)
    assert len(kept(store)) == 1
    store.sweep()
    assert not left[0].exists()
