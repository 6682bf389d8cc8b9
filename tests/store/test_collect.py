"""Collection removes what was used least recently, and nothing that may be in use."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sifmake.errors import UsageError
from sifmake.store import Store
from sifmake.store.collect import choose_items, parse_age, parse_size, remove
from sifmake.store.items import Item, list_items
from support.stores import add_sif, pack_path

NOW = 1_000_000_000.0
HOUR, DAY = 3600, 86400


def item(name, size, age):
    return Item("pack", name, Path(name), name, size, NOW - age)


ITEMS = [
    item("in-use", 100, 60),
    item("yesterday", 10, 25 * HOUR),
    item("old", 20, 10 * DAY),
    item("older", 30, 40 * DAY),
    item("oldest", 40, 400 * DAY),
]


@pytest.mark.parametrize(
    ("size", "age", "gone"),
    [
        (None, None, []),
        (200, None, []),
        (199, None, ["oldest"]),
        (160, None, ["oldest"]),
        (159, None, ["oldest", "older"]),
        (0, None, ["oldest", "older", "old", "yesterday"]),
        (None, 30 * DAY, ["oldest", "older"]),
        (None, 0, ["oldest", "older", "old", "yesterday"]),
        (190, 30 * DAY, ["oldest", "older"]),
        (120, 300 * DAY, ["oldest", "older", "old"]),
    ],
)
def test_what_goes(size, age, gone):
    for order in (ITEMS, ITEMS[::-1]):
        assert [chosen.name for chosen in choose_items(order, NOW, size, age)] == gone


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("17", 17), ("1k", 1024), ("1.5K", 1536), ("500 MiB", 500 << 20), ("10G", 10 << 30), ("2tb", 2 << 40)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "age"), [("30", 30 * DAY), ("30d", 30 * DAY), ("12h", 12 * HOUR), ("4w", 28 * DAY)])
def test_ages(text, age):
    assert parse_age(text) == age


@pytest.mark.parametrize("parse", [parse_size, parse_age])
@pytest.mark.parametrize("text", ["", "x", "-1", "1y", "1e9", "10 G G"])
def test_nonsense_is_refused(parse, text):
    with pytest.raises(UsageError):
        parse(text)


def test_a_store_is_listed_and_removed_from(tmp_path):
    store = Store.open(tmp_path / "store")
    assert list(list_items(store.root)) == []
    key = "ab" * 32 + "-x"
    pack = pack_path(store, key)
    pack.write_bytes(b"12345")
    sif = add_sif(store, key, lambda path: path.write_bytes(b"123"))
    store.sifs.keep_name("docker://x", key)
    pack.with_name(".tmp-unfinished").write_bytes(b"1")
    (store.temporary_folder() / "spool").write_bytes(b"1")
    os.utime(pack, (1, 1))
    items = list(list_items(store.root))
    assert [(one.kind, one.size) for one in items] == [("pack", 5), ("container", 3), ("name", 132)]
    assert [one.name for one in items[:2]] == [key, sif.name]
    assert list(list_items(store.root, "sif")) == [items[1]]
    chosen = choose_items(items, time.time(), max_size=0)
    remove(chosen)
    remove(chosen)
    assert [one.kind for one in list_items(store.root)] == ["container", "name"]


@pytest.fixture
def sifs(tmp_path):
    """A store with three finished SIFs of ten bytes, of which the eldest and the youngest have names."""
    store = Store.open(tmp_path / "store")
    for letter, days in (("a", 30), ("b", 20), ("c", 10)):
        path = add_sif(store, letter * 64, lambda path: path.write_bytes(b"0123456789"))
        os.utime(path, (NOW - days * DAY,) * 2)
    for uri, letter in (("docker://a", "a"), ("docker://again", "a"), ("docker://c", "c"), ("docker://gone", "d")):
        store.sifs.keep_name(uri, letter * 64)
    for path in (store.root / "names").rglob("?" * 64):
        os.utime(path, (NOW - 40 * DAY,) * 2)
    return store


def what_goes(store, size=None, age=None, elsewhere=()):
    chosen = choose_items(list_items(store.root), NOW, size, age, elsewhere)
    return sorted(one.name[0] if one.kind == "container" else one.path.read_text()[0] + "'" for one in chosen)


@pytest.mark.parametrize(
    ("limit", "gone"),
    [
        ({}, "d'"),
        ({"elsewhere": ["d" * 64]}, ""),
        ({"size": 570}, "d'"),
        ({"size": 549}, "b d'"),
        ({"size": 535}, "a a' a' b d'"),
        ({"size": 535, "elsewhere": ["a" * 64]}, "a b d'"),
        ({"size": 0}, "a a' a' b c c' d'"),
        ({"age": 25 * DAY}, "a a' a' d'"),
        ({"age": 15 * DAY}, "a a' a' b d'"),
    ],
)
def test_what_no_name_means_goes_first_and_names_go_with_their_sif(sifs, limit, gone):
    assert what_goes(sifs, **limit) == gone.split()


def test_a_name_that_was_kept_a_moment_ago_stays(sifs):
    for path in (sifs.root / "names").rglob("?" * 64):
        os.utime(path, (NOW - HOUR,) * 2)
    assert what_goes(sifs) == []


def test_a_damaged_name_goes(sifs):
    for path in (sifs.root / "names").rglob("?" * 64):
        path.write_bytes(b"x\n!")
        os.utime(path, (NOW - 2 * DAY,) * 2)
    assert what_goes(sifs) == ["x'"] * 4


def patch(name, age):
    return Item("patch", name, Path(name), name, 5, NOW - age)


PATCHES = [
    patch("old-1.aa", 2 * DAY),
    patch("old-1.bb", 10 * DAY),
    patch("gone-1.cc", 2 * DAY),
    patch("gone-1.dd", HOUR),
    patch("site-1.ee", 2 * DAY),
]


@pytest.mark.parametrize(
    ("size", "gone"),
    [
        (1000, ["gone-1.cc"]),
        (220, ["gone-1.cc"]),
        (219, ["gone-1.cc", "oldest"]),
        (125, ["gone-1.cc", "oldest", "older", "old", "old-1.bb", "old-1.aa"]),
    ],
)
def test_patches_go_with_their_packs(size, gone):
    for order in (ITEMS + PATCHES, PATCHES + ITEMS):
        assert [one.name for one in choose_items(order, NOW, size, None, {"site"})] == gone


def test_a_name_of_an_image_whose_manifest_is_there_stays(sifs):
    """What was pulled has no finished SIF yet; without a network one is made of its layers."""
    key = "e" * 64 + "-gzip-1"
    sifs.sifs.keep_name("docker://pulled", key)
    for path in sifs.root.rglob("*"):
        if path.is_file():
            os.utime(path, (NOW - 40 * DAY,) * 2)
    blob = Item("blob", f"sha256:{'e' * 64}", Path("blob"), "blob", 1, NOW - DAY)
    names = [one for one in list_items(sifs.root) if one.kind == "name" and one.path.read_text().startswith(f"{key}\n")]
    assert len(names) == 1
    assert not set(names) & set(choose_items([*list_items(sifs.root), blob], NOW))
    assert set(names) <= set(choose_items(list_items(sifs.root), NOW))
