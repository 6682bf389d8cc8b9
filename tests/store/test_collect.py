"""Collection removes what was used least recently, and nothing that may be in use."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sifmake.errors import UsageError
from sifmake.store import Store
from sifmake.store.collect import choose, parse_age, parse_size, remove
from sifmake.store.items import Item, list_items

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
        assert [chosen.name for chosen in choose(order, NOW, size, age)] == gone


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
    pack, sif = store.pack_path(key), store.sif_path(key)
    pack.write_bytes(b"12345")
    sif.write_bytes(b"123")
    pack.with_name(".tmp-unfinished").write_bytes(b"1")
    (store.temporary_folder() / "spool").write_bytes(b"1")
    os.utime(pack, (1, 1))
    items = list(list_items(store.root))
    assert [(one.kind, one.name, one.size) for one in items] == [("pack", key, 5), ("container", f"{key}.sif", 3)]
    chosen = choose(items, time.time(), max_size=0)
    remove(chosen)
    remove(chosen)
    assert [one.kind for one in list_items(store.root)] == ["container"]
