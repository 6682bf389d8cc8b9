"""Time stamps from the future, after a clock that was wrong: sweeping and collecting go on."""

import os
import time

import pytest

from sifmake.store import Store
from sifmake.store.collect import choose_items
from sifmake.store.items import list_items
from sifmake.store.sweep import DAY, SKEW, STAMP
from support.stores import add_sif

YEARS = 10 * 365 * DAY


@pytest.fixture
def store(tmp_path):
    """A store with one of each, which was last swept long ago."""
    store = Store(tmp_path / "store")
    store.packs.write("a" * 64 + "-gzip", lambda file: file.write(b"pack"))
    store.blobs.put("sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", b"a")
    add_sif(store, "b" * 64, lambda path: path.write_bytes(b"sif"))
    store.sifs.keep_name("docker://b", "b" * 64)
    (store.root / "tmp" / ".tmp-left").write_bytes(b"left")
    (store.root / "packs" / "aa" / ".tmp-left").write_bytes(b"left")
    (store.root / STAMP).touch()
    return store


def set_all(store, when):
    for path in (store.root, *store.root.rglob("*")):
        os.utime(path, (when, when))


def left(store):
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob(".tmp-*"))


def use(store):
    """Do what sweeps once a day."""
    store.blobs.put("sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d", b"b")
    store.packs.write("c" * 64 + "-gzip", lambda file: file.write(b"pack"))


def test_sweeping_goes_on_when_its_stamp_is_from_the_future(store):
    old = time.time() - 2 * DAY
    set_all(store, old)
    os.utime(store.root / STAMP, (old + YEARS, old + YEARS))
    use(store)
    assert left(store) == []
    assert abs((store.root / STAMP).stat().st_mtime - time.time()) < 60


def test_a_clock_that_is_a_little_ahead_is_believed(store):
    set_all(store, time.time() - 2 * DAY)
    ahead = time.time() + SKEW / 2
    os.utime(store.root / STAMP, (ahead, ahead))
    use(store)
    assert len(left(store)) == 2, "swept within a day"


def test_files_from_the_future_begin_to_age(store):
    set_all(store, time.time() + YEARS)
    use(store)
    assert len(left(store)) == 2, "somebody may be writing them now"
    assert all(abs(item.used - time.time()) < 60 for item in list_items(store.root))
    two_days = time.time() - 2 * DAY
    set_all(store, two_days)
    use(store)
    assert left(store) == []


def test_what_is_from_the_future_is_collected_a_day_after_it_was_seen(store):
    set_all(store, time.time() + YEARS)
    store.sweep()
    items = list(list_items(store.root))
    assert choose_items(items, time.time(), max_size=0) == []
    assert {item.kind for item in choose_items(items, time.time() + DAY + 60, max_size=0)} == {
        "pack",
        "blob",
        "container",
        "name",
    }


def test_use_brings_a_stamp_from_the_future_back(store):
    path = store.packs.find("a" * 64 + "-gzip")
    os.utime(path, (time.time() + YEARS, time.time() + YEARS))
    assert store.packs.find("a" * 64 + "-gzip") == path
    assert abs(path.stat().st_mtime - time.time()) < 60
