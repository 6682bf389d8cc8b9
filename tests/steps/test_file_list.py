"""Lists of a layer's files: each kind of difference has a name."""

import pytest

from sifmake.errors import PackDamagedError
from sifmake.layers.entry import CHAR, DIR, FILE, HARDLINK, OPAQUE, SYMLINK, WHITEOUT, Entry
from sifmake.layers.tar_writer import tar_stream
from sifmake.limits import DEFAULT_LIMITS
from sifmake.progress import Silent
from sifmake.steps.file_list import compare_lists, list_files
from sifmake.steps.layer_maker import LayerMaker
from sifmake.store import Store


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """Return the list of a layer with some entries; a file's content is its target."""
    with LayerMaker(Store(tmp_path_factory.mktemp("store")), "gzip", DEFAULT_LIMITS, Silent()) as maker:

        def make(*entries):
            pairs = []
            for entry in (Entry(b"", DIR, 0o755, 0, 0, 0), *entries):
                data = (entry.target,) if entry.kind == FILE else ()
                entry.size = len(entry.target) if data else 0
                pairs.append((entry, data))
            with maker.make(tar_stream(pairs), "test") as pack:
                return list_files(pack)

        yield make


def entry(path, kind=FILE, mode=0o644, uid=0, gid=0, mtime=5, target=b"", **more):
    return Entry(path, kind, mode, uid, gid, mtime, target=target, **more)


def changes(old, new):
    return [tuple(change) for change in compare_lists(old, new)]


def test_equal_layers_have_equal_lists(listed):
    one = listed(entry(b"a b\n%c", target=b"x"), entry(b"l", SYMLINK, target=b"/a b"))
    assert one == listed(entry(b"a b\n%c", target=b"x"), entry(b"l", SYMLINK, target=b"/a b"))
    assert one.startswith(b"sifmake files 1\n")
    assert b" /a%20b%0A%25c -\n" in one
    assert changes(one, one) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (entry(b"f", target=b"ab"), entry(b"f", target=b"ba"), "content"),
        (entry(b"f", target=b"a"), entry(b"f", target=b"ab"), "size 1 -> 2, content"),
        (entry(b"f"), entry(b"f", mode=0o4755), "mode 644 -> 4755"),
        (entry(b"f"), entry(b"f", uid=7, gid=8), "owner 0 -> 7, group 0 -> 8"),
        (entry(b"f"), entry(b"f", mtime=9), "time 5 -> 9"),
        (entry(b"f"), entry(b"f", xattrs=((b"user.x", b"1"),)), "attributes"),
        (entry(b"f", SYMLINK, target=b"a"), entry(b"f", SYMLINK, target=b"b c"), "target a -> b%20c"),
        (entry(b"f"), entry(b"f", DIR), "type f -> d"),
        (entry(b"f", CHAR, major=1, minor=3), entry(b"f", CHAR, major=1, minor=5), "target 1,3 -> 1,5"),
        (entry(b"f"), entry(b"f", WHITEOUT), "type f -> w"),
    ],
)
def test_each_difference_has_a_name(listed, old, new, said):
    found = changes(listed(old), listed(new))
    assert [path for path, _ in found] == ["/f"]
    assert said in found[0][1]


def test_files_are_added_and_removed_in_the_order_of_their_paths(listed):
    old = listed(entry(b"a"), entry(b"b", DIR), entry(b"b/x"), entry(b"z"))
    new = listed(entry(b"b", DIR), entry(b"b-"), entry(b"b/y"), entry(b"z"))
    assert changes(old, new) == [("/a", "removed"), ("/b-", "added"), ("/b/x", "removed"), ("/b/y", "added")]


def test_a_folder_and_what_hides_the_one_below_it_are_two(listed):
    plain, opaque = entry(b"d", DIR), entry(b"d", OPAQUE, mode=0)
    assert changes(listed(plain), listed(plain, opaque)) == [("/d", "added")]


def test_a_hard_link_differs_from_a_copy(listed):
    first, link = entry(b"a", target=b"x"), entry(b"b", HARDLINK, target=b"a")
    assert changes(listed(first, entry(b"b", target=b"x")), listed(first, link))[0][0] == "/b"


@pytest.mark.parametrize("data", [b"", b"\n", b"x" * 1000, b"h\nf 1 2\n", b"h\n" + b" " * 9 + b"\n", b"h\n\xff\xfe%\n"])
def test_bytes_that_are_not_a_list_are_ignored(listed, data):
    list(compare_lists(data, listed(entry(b"f"))))
    list(compare_lists(listed(entry(b"f")), data))


def test_a_damaged_pack_gives_no_list(tmp_path):
    store = Store(tmp_path)
    with LayerMaker(store, "gzip", DEFAULT_LIMITS, Silent()) as maker:
        pack = maker.make(tar_stream([(Entry(b"", DIR, 0o755, 0, 0, 0), ())]), "test")
        pack.path.write_bytes(b"")
        with pack, pytest.raises(PackDamagedError):
            list_files(pack)
