"""Paths of layers that cost far more than their bytes: folders that nothing describes, links that lead a long way."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from sifmake.errors import LimitError
from sifmake.flatten.merge import Merger
from sifmake.layers.entry import DIR, FILE, HARDLINK, SYMLINK, WHITEOUT, Inode
from sifmake.limits import Limits
from support.images import Blobs, write_layout
from support.measured import measured
from support.tars import block, gnu_long

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
LONG = b"/".join([b"d"] * 2000)
DEEP = b"/".join([b"d"] * 16_000)


def folders_that_nothing_describes() -> list[bytes]:
    return [b"".join(gnu_long(b"L", b"%d/" % n + DEEP) + block(b"x") for n in range(300))]


def links_that_lead_a_long_way() -> list[bytes]:
    """Two symlinks in turn, so that the path is looked up again for each name."""
    links = [gnu_long(b"K", LONG) + block(b"l%d" % n, b"2") for n in range(2)]
    names = [block(b"l%d/%d" % (n % 2, n)) for n in range(60_000)]
    return [b"".join((gnu_long(b"L", LONG), block(b"x", b"5"), *links, *names))]


def hard_links_by_a_long_way() -> list[bytes]:
    start = gnu_long(b"L", LONG + b"/f") + block(b"x") + gnu_long(b"K", LONG) + block(b"s", b"2")
    return [start + b"".join(block(b"h%d" % n, b"1", link=b"s/f") for n in range(60_000))]


def whiteouts_far_below() -> list[bytes]:
    """Each folder on the way to what they hide is looked up from the root."""
    path = DEEP[:16_001]
    hidden = [gnu_long(b"L", path + b"/.wh.%d" % n) + block(b"x") for n in range(10)]
    return [gnu_long(b"L", path + b"/f") + block(b"x"), b"".join(hidden)]


def names_of_dots() -> list[bytes]:
    dots = b"./" * 32_000
    return [b"".join(gnu_long(b"L", dots + b"%d" % n) + block(b"x") for n in range(200))]


def hard_links_by_dots() -> list[bytes]:
    dots = b"a/../" * 12_000
    return [block(b"f") + b"".join(gnu_long(b"K", dots + b"f") + block(b"h%d" % n, b"1") for n in range(300))]


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (names_of_dots, "path-steps"),
        (hard_links_by_dots, "path-steps"),
        (folders_that_nothing_describes, "implied-folders"),
        (links_that_lead_a_long_way, "path-steps"),
        (hard_links_by_a_long_way, "path-steps"),
        (whiteouts_far_below, "path-steps"),
    ],
)
def test_paths_that_cost_much_end_soon(tmp_path: Path, make, limit: str) -> None:
    blobs = Blobs()
    image = blobs.image([layer + bytes(1024) for layer in make()])
    write_layout(tmp_path / "layout", blobs, {"latest": image})
    target = tmp_path / "x.sif"
    target.write_bytes(b"old")
    ran = measured("pull", "--force", "x.sif", "oci:layout:latest", cwd=tmp_path)
    assert ran.status == 1, ran.err
    assert f"(a limit); raise {limit} (limits:" in ran.err.splitlines()[-1]
    assert "damaged" not in ran.err
    assert ran.memory < 256 * MIB
    assert ran.seconds < 5
    assert target.read_bytes() == b"old"


def entry(path: bytes, kind: int, target: bytes = b"") -> Inode:
    return Inode(path, kind, 0o755, 0, 0, 0, target=target)


def test_folders_that_entries_describe_do_not_count() -> None:
    merger = Merger(0, Limits(implied_folders=1))
    merger.apply([entry(b"a", DIR), entry(b"a/b", DIR), entry(b"a/b/c", DIR), entry(b"a/b/c/d/e", FILE)], 0)
    with pytest.raises(LimitError, match="more than 1 folders"):
        merger.apply([entry(b"a/b/c/f/g", FILE)], 1)


@pytest.mark.parametrize(
    "entries",
    [
        [entry(b"l", SYMLINK, b"a/b/c/d/e/f/g/h"), entry(b"l/x", FILE)],
        [entry(b"f", FILE), entry(b"h", HARDLINK, b"./././f/a/b/c/d/e/f/g/h")],
        [entry(b"a/b/i", WHITEOUT), entry(b"c/d/i", WHITEOUT)],
        [entry(b"a/b/c/d/e/f/g/h/i", FILE)],
    ],
    ids=["symlink", "hard link", "whiteout", "name"],
)
def test_every_way_counts(entries: list[Inode]) -> None:
    entries = [*entries, entry(b"q/w", FILE), entry(b"e/r", FILE)]
    merger = Merger(0, Limits(path_steps=2 - 20 * len(entries)))
    with pytest.raises(LimitError, match="path-steps"):
        merger.apply(entries, 0)


def test_a_link_counts_as_it_is_written() -> None:
    """Also the parts that lead nowhere: reading them takes time for each path through the link."""
    for steps, refused in ((45, False), (30, True)):
        path = [entry(b"d", DIR), entry(b"l", SYMLINK, b"./" * 30 + b"d"), entry(b"l/x", FILE), entry(b"q/w", FILE)]
        merger = Merger(0, Limits(path_steps=steps - 20 * len(path)))
        with pytest.raises(LimitError, match="path-steps") if refused else nullcontext():
            merger.apply(path, 0)
