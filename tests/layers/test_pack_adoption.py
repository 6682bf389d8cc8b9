"""Packs of users who are not trusted: used if they prove themselves, and never without a copy."""

from __future__ import annotations

import os
import shutil

import pytest

from sifmake.api.cache import Cache
from sifmake.api.cache_results import CacheCheck
from sifmake.errors import StoreError
from sifmake.layers import pack_proof
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import make_codec
from sifmake.layers.pack_finder import PackFinder
from sifmake.layers.pack_format import pack_key
from sifmake.limits import DEFAULT_LIMITS
from sifmake.store import Store
from sifmake.store.naming import key_spot
from support.layers import diff_id_of, file, make_pack, tar
from support.messages import Messages
from support.packs import as_first_format, drop_residue, parts_of, tamper

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

STRANGER = 4242
RAW = tar(file("bin/tool", b"good" * 5000), file("large", bytes(range(256)) * 2000))
DIFF_ID = diff_id_of(RAW)
KEY = pack_key(DIFF_ID, make_codec("gzip"))


@pytest.fixture
def told():
    return Messages()


@pytest.fixture
def store(tmp_path, told):
    (tmp_path / "store").mkdir(mode=0o755)
    return Store.open(tmp_path / "store", environ={}, progress=told)


def place(store, key=KEY, path=None, mode=0o644):
    """Put a pack of the stranger's into a store; return its path."""
    target = store.root / "packs" / key[:2] / key
    target.parent.mkdir(parents=True, exist_ok=True)
    if path is None:
        make_pack(target, RAW).close()
    else:
        shutil.move(path, target)
    target.chmod(mode)
    os.chown(target, STRANGER, STRANGER)
    return target


def find(store, told):
    with Workers(1) as workers:
        return PackFinder(store, make_codec("gzip"), workers, told, DEFAULT_LIMITS).find(DIFF_ID)


@pytest.mark.parametrize("mode", [0o644, 0o666])
def test_a_pack_that_proves_itself_is_copied_and_used(store, told, mode):
    path = place(store, mode=mode)
    with find(store, told) as pack:
        assert pack.key == KEY
        pack.check_data()
    assert "who is not trusted, but it proves itself" in told.infos[0]
    assert path.stat().st_uid == 0, "the copy has taken its place"
    assert not path.stat().st_mode & 0o022
    assert len(told.infos) == 1
    find(store, told).close()
    assert len(told.infos) == 1, "it is proven once"
    assert told.warnings == []


def test_a_pack_in_a_store_that_is_only_read_is_copied_into_the_own_one(store, told, tmp_path):
    path = place(store)
    before = path.stat()
    own = Store.open(tmp_path / "own", read_only=[store.root], environ={}, progress=told)
    with find(own, told) as pack:
        assert pack.path.is_relative_to(tmp_path / "own")
    assert path.stat() == before


def lie(path):
    tamper(path, lambda parts: parts["entries"][0].__setitem__(2, 0o4755))


def claim(path):
    """Write the pack of another layer that says it is the right one."""
    make_pack(path, tar(file("bin/tool", b"evil" * 5000))).close()
    tamper(path, lambda parts: parts["meta"].__setitem__("diff_id", DIFF_ID))


REFUSED = {
    "of another layer": (claim, "the layer pack holds another layer than sha256:"),
    "with a wrong mode in its index": (lie, "entries of the layer pack are not those of its layer"),
    "without a residue": (drop_residue, "has no residue"),
    "cut": (lambda path: os.truncate(path, path.stat().st_size - 1), "not a complete layer pack"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_pack_that_does_not_prove_itself_stays_where_it_is(kind, store, told):
    path = place(store)
    change, said = REFUSED[kind]
    change(path)
    os.chown(path, STRANGER, STRANGER)
    before = path.read_bytes()
    assert find(store, told) is None
    assert "belongs to user 4242, who is not trusted, and " in told.warnings[0]
    assert said in told.warnings[0]
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_pack_of_format_1_is_used_only_if_its_owner_is_trusted(store, told, tmp_path):
    make_pack(tmp_path / KEY, RAW).close()
    key = as_first_format(tmp_path / KEY)
    path = place(store, key, tmp_path / KEY)
    assert find(store, told) is None
    assert "has no residue" in told.warnings[0]
    os.chown(path, 0, 0)
    with find(store, told) as pack:
        assert (pack.key, pack.path) == (key, path)


def test_a_pack_of_format_1_with_dead_blocks_is_packed_again(store, told, tmp_path):
    """Where blocks are in a pack decides where they are in a SIF file, so the old places must not be used."""
    make_pack(tmp_path / KEY, RAW).close()
    good = parts_of(tmp_path / KEY)

    def add_dead_block(parts):
        parts["data"] = bytes(5000) + parts["data"]
        parts["fragments"] = [(start + 5000, *rest) for start, *rest in parts["fragments"]]
        for content in parts["contents"]:
            content[2] += 5000 * bool(content[4])

    tamper(tmp_path / KEY, add_dead_block)
    key = as_first_format(tmp_path / KEY)
    os.chown(place(store, key, tmp_path / KEY), 0, 0)
    with find(store, told) as pack:
        assert (pack.key, pack.has_residue) == (KEY, False)
        found = parts_of(pack.path)
    assert [found[name] for name in ("data", "entries", "contents", "fragments")] == [
        good[name] for name in ("data", "entries", "contents", "fragments")
    ]


def test_what_the_owner_writes_during_the_check_changes_nothing(store, told, monkeypatch):
    path = place(store)
    good = path.read_bytes()

    def prove(pack, limits):
        path.write_bytes(b"evil" * (len(good) // 4))
        honest(pack, limits)

    honest = pack_proof.prove_pack
    monkeypatch.setattr(pack_proof, "prove_pack", prove)
    with find(store, told) as pack:
        assert pack.path.read_bytes() == good


def rename_what_can_be(store):
    """Do what a member of the group can: give every file and folder of tmp and packs the name of the pack, in turn."""
    folder = store.root / "packs" / KEY[:2]
    for path in [*folder.iterdir(), *(store.root / "tmp").glob("*")]:
        if path.is_dir():
            folder.rename(folder.with_name("aside"))
            path.rename(folder)
            yield
            folder.rename(path)
            folder.with_name("aside").rename(folder)
        elif path.stat().st_uid != STRANGER:
            path.rename(folder / KEY)
            yield


def test_what_is_not_proven_yet_never_counts_as_the_users_own(store, told, monkeypatch):
    """The copy belongs to the user, so a member of the group must not be able to give it the name of a pack."""
    path = place(store)
    lie(path)
    os.chown(path, STRANGER, STRANGER)
    steps = []

    def prove(pack, limits):
        steps.extend(store.packs.open_trusted(KEY) for _ in rename_what_can_be(store))
        honest(pack, limits)

    honest = pack_proof.prove_pack
    monkeypatch.setattr(pack_proof, "prove_pack", prove)
    assert find(store, told) is None
    assert steps
    assert set(steps) == {None}
    assert store.packs.open_trusted(KEY) is None
    assert not any((store.root / "tmp").iterdir())


def test_what_is_not_checked_yet_never_counts_as_imported(store):
    """As for copies; this is how files of an archive come into the store."""
    (store.root / "packs" / KEY[:2]).mkdir(parents=True)

    def write(path):
        path.write_bytes(b"evil")
        assert [store.packs.open_trusted(KEY) for _ in rename_what_can_be(store)] == [None]
        raise StoreError("evil")

    with pytest.raises(StoreError, match="evil"):
        store.put(key_spot("packs", KEY), write)
    assert store.packs.open_trusted(KEY) is None


def test_verify_names_what_cannot_prove_itself(store, told, tmp_path):
    make_pack(tmp_path / KEY, RAW).close()
    key = as_first_format(tmp_path / KEY)
    os.chown(place(store, key, tmp_path / KEY), 0, 0)
    foreign = place(store)
    cache = Cache(tmp_path, progress=told)
    cache._store = store
    assert cache.verify() == CacheCheck(2, 0, 0, (key,))
    assert f"pack {key}: it is of format 1" in told.infos[0]
    lie(foreign)
    os.chown(foreign, STRANGER, STRANGER)
    found = cache.verify()
    assert (found.damaged, found.untrusted, bool(found)) == (0, 1, False)
    os.chown(foreign, 0, 0)
    assert cache.verify().damaged == 1
    assert not foreign.exists()
