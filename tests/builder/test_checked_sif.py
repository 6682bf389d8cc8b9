"""What runs from the store has the bytes that its name says: damaged files are dropped and made again."""

from __future__ import annotations

import os
import random
import shutil
import time
import types
from pathlib import Path

import pytest

from sifmake.builder import checked_sif
from sifmake.builder.checked_sif import find_checked
from sifmake.builder.name_meanings import noted_name
from sifmake.builder.run_cache import ImageToRun, find_or_build
from sifmake.cli.main import main
from sifmake.cli.running_image import opened_image
from sifmake.errors import SourceError
from sifmake.oci.platform import host_platform
from sifmake.reference import parse_uri
from sifmake.store import Store
from sifmake.store.naming import SIFS, name_spot
from support.faults import write_image
from support.messages import Messages

RANDOM = random.Random(49)
SPOTS = [("flip", RANDOM.random()) for _ in range(30)] + [("zeros", RANDOM.random()) for _ in range(9)]
SPOTS += [("cut", RANDOM.random()) for _ in range(8)] + [("cut", 0.0), ("longer", 1.0)]


def damage(path, kind, at):
    data = bytearray(path.read_bytes())
    spot = int(at * (len(data) - 1))
    if kind == "flip":
        data[spot] ^= 1 << RANDOM.randrange(8)
    elif kind == "zeros":
        data[spot : spot + 512] = bytes(b ^ 0xFF for b in data[spot : spot + 512])
    elif kind == "cut":
        del data[spot:]
    else:
        data += b"\0"
    path.write_bytes(data)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return write_image(tmp_path_factory.mktemp("image"), 200_000)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def hashed(monkeypatch):
    """The files that were read completely."""
    paths = []
    real = checked_sif._is_whole

    def count(found):
        paths.append(found.path.name)
        return real(found)

    monkeypatch.setattr(checked_sif, "_is_whole", count)
    return paths


def find(image, **options):
    listener = Messages()
    found = find_or_build(ImageToRun(image, **options), listener)
    found.close()
    return found.path, listener.warnings


def facts(path):
    with path.open("rb") as file:
        return checked_sif._facts(file.fileno())


def test_49_damages_are_found_and_mended(image):
    path, _ = find(image)
    good = path.read_bytes()
    for kind, at in SPOTS:
        damage(path, kind, at)
        again, warnings = find(image)
        assert again.read_bytes() == good, (kind, at)
        assert any("is damaged and is not used" in text for text in warnings), (kind, at)


def test_a_file_is_read_completely_once_and_again_when_it_was_changed(image, hashed):
    path, _ = find(image)
    assert hashed == [], "a fresh build counts as checked"
    find(image)
    find(image)
    assert hashed == []
    os.utime(path)
    find(image)
    find(image)
    assert hashed == [path.name]


def test_renewing_the_time_stamp_is_not_a_change(image, hashed):
    path, _ = find(image)
    old = time.time() - 7200
    os.utime(path, (old, old))
    find(image)
    assert hashed == [path.name]
    for _ in range(3):
        os.utime(path, (old, old))
        Store.open().sifs.keep_name(f"checked {path}", facts(path))
        find(image)
        assert path.stat().st_mtime > old, "use renews it"
    assert hashed == [path.name]


def test_damage_that_no_time_of_change_tells_of_is_found_in_header_table_and_superblock(image, hashed, monkeypatch):
    path, _ = find(image)
    good = path.read_bytes()
    start = good.index(b"hsqs")
    for at in (33, 97, start, start + 45):
        damage(path, "flip", at / (len(good) - 1) + 1e-12)
        Store.open().sifs.keep_name(f"checked {path}", facts(path))
        again, _ = find(image)
        assert again.read_bytes() == good, at


def test_a_damaged_file_of_a_read_only_store_is_built_into_the_own_one(image, tmp_path, monkeypatch, cache):
    site = tmp_path / "site"
    path, _ = find(image)
    good = path.read_bytes()
    shutil.copytree(cache, site)
    shutil.rmtree(cache)
    monkeypatch.setenv("SIFMAKE_READONLY_CACHE", str(site))
    (theirs,) = (site / SIFS).rglob("*.sif")
    assert find(image)[0] == theirs
    assert not list(cache.rglob("*.sif"))
    damage(theirs, "flip", 0.5)
    bad = theirs.read_bytes()
    own, warnings = find(image)
    assert own.is_relative_to(cache)
    assert own.read_bytes() == good
    assert theirs.read_bytes() == bad
    assert any(str(theirs) in text for text in warnings)
    assert find(image)[0] == own


def test_the_notes_of_two_names_that_took_each_others_place_name_nothing(image, tmp_path, cache):
    other = write_image(tmp_path / "other", 100_000)
    good = {uri: find(uri)[0] for uri in (image, other)}
    shelf = tmp_path / "shelf"

    def find_without_images(uri):
        """Find an image by its note, because an image in a folder is read without one."""
        folder = Path(uri.removeprefix("oci:").removesuffix(":latest"))
        folder.rename(shelf)
        try:
            return find(uri, offline=True)[0]
        finally:
            shelf.rename(folder)

    assert all(find_without_images(uri) == path for uri, path in good.items())
    store = Store.open()
    one, two = (name_spot(noted_name(parse_uri(uri), host_platform())).under(store.root) for uri in good)
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    for uri, path in good.items():
        with pytest.raises(SourceError, match="is not in the store, and the run is offline"):
            find_without_images(uri)
        assert find(uri)[0] == path
    assert all(find_without_images(uri) == path for uri, path in good.items())


def test_a_store_that_cannot_be_mended_ends(image, monkeypatch):
    path, _ = find(image)
    damage(path, "flip", 0.5)
    monkeypatch.setattr("sifmake.store.folder.Folder.remove", lambda *_: None)
    store = Store.open(progress=Messages())
    key = path.name.split(".")[0]
    assert find_checked(store, key) is None


def test_what_was_checked_is_what_is_run_whatever_takes_its_name(image, tmp_path):
    options = types.SimpleNamespace(image=image, offline=False, no_https=False, authfile="", disable_cache=False)
    options = types.SimpleNamespace(**vars(options), docker_login=False, docker_host="", quiet=True, given={})
    good = find(image)[0].read_bytes()
    for by_path in (False, True):
        path, fd, _finisher = opened_image(options, by_path=by_path)
        assert (fd < 0) is by_path, "the peers open it by its path"
        if fd >= 0:
            (tmp_path / "evil").write_bytes(b"evil")
            os.replace(tmp_path / "evil", path)
            with os.fdopen(fd, "rb") as file:
                assert file.read() == good


def test_the_file_of_another_image_under_an_images_name_is_not_run_where_others_can_rename(image, tmp_path, cache):
    other = write_image(tmp_path / "other", 100_000)
    wanted, given = find(image)[0], find(other)[0]
    good = wanted.read_bytes()
    key = wanted.name.partition(".")[0]
    moved = wanted.with_name(f"{key}.{given.name.partition('.')[2]}")
    cache.chmod(0o2770)
    for _ in range(2):
        wanted.unlink(missing_ok=True)
        shutil.copy2(given, moved)
        again, warnings = find(image)
        assert again.read_bytes() == good
        assert any("is another image's and is not used" in text for text in warnings)
    assert main(["cache", "verify"]) == 0
    shutil.copy2(given, moved)
    assert main(["cache", "verify"]) == 1
    assert not moved.exists()
    (wanted.parent / wanted.name).touch()
    assert find(image)[0].read_bytes() == good, "what is the image's own shows it by its manifest"
