"""Sharing blocks of files, on file systems that can and on others."""

import json
import os
import random
from types import SimpleNamespace

import pytest

from sifmake import reflinks
from sifmake.builder import image_room
from sifmake.cli.main import main
from sifmake.errors import NoRoomError
from sifmake.places import Place
from sifmake.progress import Silent
from sifmake.reflinks import can_share, clone_range, shared_bytes
from sifmake.store import Store
from support.reflinks import reflink_disk

DATA = random.Random(3).randbytes(200_000)


@pytest.fixture(scope="module", params=["xfs", "btrfs"])
def disk(request, tmp_path_factory):
    with reflink_disk(request.param, tmp_path_factory.mktemp("disk")) as top:
        yield top


def write_shared(folder):
    """Write a file, and another one that shares its first 128 KiB."""
    (folder / "a").write_bytes(DATA)
    with (folder / "a").open("rb") as source, (folder / "b").open("w+b") as target:
        assert clone_range(source.fileno(), 0, target.fileno(), 0, 1 << 17)
    os.sync()


def test_shared_bytes_are_counted(disk):
    (disk / "alone").write_bytes(DATA)
    write_shared(disk)
    assert shared_bytes(disk / "alone") == 0
    assert shared_bytes(disk / "b") == 1 << 17
    assert 1 << 17 <= shared_bytes(disk / "a") <= len(DATA)
    assert (disk / "b").read_bytes() == DATA[: 1 << 17]


def test_a_trial_tells_whether_folders_can_share_and_leaves_nothing(disk, tmp_path):
    before = sorted(disk.rglob("*"))
    assert can_share(disk / "no" / "store", disk)
    assert not can_share(disk, tmp_path)
    assert sorted(disk.rglob("*")) == before


def test_other_files_share_nothing(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(DATA)
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    for name in ("a", "link", "pipe", "missing", "."):
        assert shared_bytes(tmp_path / name) == 0
    monkeypatch.setattr(reflinks, "open_nameless", lambda folder: (folder / "missing" / "x").open("w+b"))
    assert not can_share(tmp_path, tmp_path)


@pytest.mark.parametrize("count", [0, 1, 128, 300])
def test_a_file_of_many_extents_is_asked_for_in_parts(tmp_path, monkeypatch, count):
    """As the kernel answers: so many extents as fit, the last one marked."""
    (tmp_path / "a").write_bytes(bytes(count * 4096))

    def fiemap(_fd, _request, buffer):
        start, _, _, _, room, _ = reflinks._MAP_HEAD.unpack_from(buffer)
        numbers = range(start // 4096, count)[:room]
        for place, number in enumerate(numbers):
            flags = (reflinks._SHARED if number % 2 else 0) | (reflinks._LAST if number == count - 1 else 0)
            at = reflinks._MAP_HEAD.size + place * reflinks._MAP_EXTENT.size
            reflinks._MAP_EXTENT.pack_into(buffer, at, number * 4096, 1 << 30, 4096, flags)
        reflinks._MAP_HEAD.pack_into(buffer, 0, start, 0, 0, len(numbers), room, 0)

    monkeypatch.setattr(reflinks.fcntl, "ioctl", fiemap)
    assert shared_bytes(tmp_path / "a") == count // 2 * 4096


def test_cache_list_says_what_is_shared(disk, monkeypatch, capsys):
    store = Store(disk / "store")
    with store.patches.writing(f"{'0' * 64}-gzip6-128k-v2-{'0' * 16}-1.{'0' * 32}") as file:
        file.write(DATA)
    monkeypatch.setenv("SIFMAKE_CACHE", str(store.root))
    monkeypatch.chdir(disk)
    assert main(["cache", "list"]) == 0
    assert "shared" not in capsys.readouterr().out
    (patch,) = store.root.glob("patches/*/*")
    with patch.open("rb") as source, (disk / "copy").open("w+b") as target:
        assert clone_range(source.fileno(), 0, target.fileno(), 0, 1 << 17)
    os.sync()
    assert main(["cache", "list"]) == 0
    shared = shared_bytes(patch)
    assert shared >= 1 << 17
    assert capsys.readouterr().out.endswith("KiB of it in blocks shared with other files\n")
    assert main(["cache", "list", "--json"]) == 0
    assert [row["shared"] for row in json.loads(capsys.readouterr().out)["files"]] == [shared]


@pytest.mark.parametrize("shares", [True, False])
def test_an_image_that_shares_with_its_packs_needs_no_room(tmp_path, monkeypatch, shares):
    asked = []
    monkeypatch.setattr(image_room, "can_share", lambda one, other: asked.append((one, other)) or shares)
    packs = SimpleNamespace(keys=lambda _: ["a pack"])
    store = SimpleNamespace(root=tmp_path / "store", packs=packs)
    target = Place("the image file", tmp_path / "images/a.sif")
    size = 1 << 62
    layer = SimpleNamespace(diff_id="sha256:" + "0" * 64, descriptor=SimpleNamespace(digest="sha256:1", size=size))
    image = SimpleNamespace(layers=[layer])
    if shares:
        image_room.check_image_room(image, store, [target], Silent())
    else:
        with pytest.raises(NoRoomError, match="the image file"):
            image_room.check_image_room(image, store, [target], Silent())
    assert asked == [(store.root, tmp_path / "images")]
