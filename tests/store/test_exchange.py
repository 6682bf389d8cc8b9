"""Archives of a store: the same bytes for the same files, and nothing unchecked comes in."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from sifmake.errors import PackDamagedError, StoreError
from sifmake.oci.model import Platform
from sifmake.store import Store
from sifmake.store.exchange import read_archive, write_archive
from sifmake.store.items import list_items
from support.stores import pack_path

DATA = b"{}"
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
HEX = DIGEST.partition(":")[2]
KEY = "cd" * 32 + "-x"
BLOB_PLACE = f"blobs/sha256/{HEX[:2]}/{HEX}"


def check_pack(path):
    data = path.read_bytes()
    if not data.startswith(b"pack of "):
        raise PackDamagedError("not a complete layer pack", where=str(path))
    return data.removeprefix(b"pack of ").decode()


@pytest.fixture
def full(tmp_path):
    store = Store.open(tmp_path / "full")
    store.blobs.put(DIGEST, DATA)
    pack_path(store, KEY).write_bytes(b"pack of " + KEY.encode())
    store.blobs.remember_manifest(DIGEST, Platform("linux", "arm", "v7"), DIGEST)
    return store


@pytest.fixture
def empty(tmp_path):
    return Store.open(tmp_path / "empty")


def export(store, path):
    with path.open("wb") as file:
        count, size = write_archive(list_items(store.root), file)
    assert size == path.stat().st_size
    return count


def archive(path, *members):
    with tarfile.open(path, "w") as tar:
        for name, data, *kind in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if kind:
                info.type, info.linkname, info.size = kind[0], "/etc/passwd", 0
            tar.addfile(info, io.BytesIO(data))
    return path


def test_there_and_back(full, empty, tmp_path):
    count = export(full, tmp_path / "a.tar")
    done = read_archive(empty, tmp_path / "a.tar", check_pack)
    assert (count, len(done.new), done.known) == (3, 3, 0)
    assert empty.blobs.get(DIGEST) == DATA
    assert empty.packs.find(KEY).read_bytes() == b"pack of " + KEY.encode()
    assert empty.blobs.find_manifest(DIGEST, Platform("linux", "arm", "v7")) == DIGEST
    again = read_archive(empty, tmp_path / "a.tar", check_pack)
    assert (again.new, again.known) == ([], 3)
    export(empty, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_tar_lists_the_places_in_the_store(full, tmp_path):
    export(full, tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert set(tar.getnames()) == {
            BLOB_PLACE,
            f"indexes/{HEX[:2]}/{HEX}-linux%2Farm%2Fv7",
            f"packs/cd/{KEY}",
        }


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ((BLOB_PLACE, b"[]"), "does not match its name"),
        ((f"blobs/sha256/00/{HEX}", DATA), "does not match its name"),
        ((f"blobs/md5/{HEX[:2]}/{HEX}", DATA), "does not belong"),
        ((f"packs/cd/{KEY}", b"damaged"), "not a complete"),
        ((f"packs/cd/{KEY}", b"pack of other"), "does not match its name"),
        ((f"packs/ce/{KEY}", b"pack of " + KEY.encode()), "does not match its name"),
        ((f"indexes/{HEX[:2]}/{HEX}-linux", b"nonsense"), "does not match its name"),
        ((f"indexes/{HEX[:2]}/{HEX}-linux", b"x" * 300), "too large"),
        (("../../escape", DATA), "does not belong"),
        (("/tmp/escape", DATA), "does not belong"),
        (("packs/../../../x", DATA), "does not belong"),
        (("sif/ab/abc.sif", DATA), "does not belong"),
        ((BLOB_PLACE + "\n", DATA), "does not belong"),
        ((BLOB_PLACE, b"", tarfile.SYMTYPE), "does not belong"),
        ((BLOB_PLACE, b"", tarfile.LNKTYPE), "does not belong"),
        ((BLOB_PLACE, b"", tarfile.DIRTYPE), "does not belong"),
        ((BLOB_PLACE, b"", tarfile.FIFOTYPE), "does not belong"),
    ],
)
def test_what_is_not_right_stays_out(empty, tmp_path, member, said):
    path = archive(tmp_path / "bad.tar", member)
    with pytest.raises(StoreError, match=said) as caught:
        read_archive(empty, path, check_pack)
    assert str(path) in str(caught.value)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


STEP = "ef" * 32
STEP_PLACE = f"steps/ef/{STEP}"


def kept_note(key, note):
    """Keep a note under a name and in a form that say that nothing proves it."""
    return (f"{key}-{'1' * 32}", b"unproven " + note) if note == b"note of " + key.encode() else ("", b"")


@pytest.mark.parametrize("more", ["", f"-{'1' * 32}", f"-{'2' * 32}.signed"])
def test_a_note_on_a_step_gets_the_name_that_it_has_here(empty, tmp_path, more):
    path = archive(tmp_path / "a.tar", (STEP_PLACE + more, b"note of " + STEP.encode()))
    done = read_archive(empty, path, check_pack, kept_note=kept_note)
    assert (done.new, done.known, done.steps) == ([f"{STEP_PLACE}-{'1' * 32}"], 0, 1)
    assert read_archive(empty, path, check_pack, kept_note=kept_note).known == 1
    assert (empty.root / done.new[0]).read_bytes() == b"unproven note of " + STEP.encode()
    assert not (empty.root / STEP_PLACE).exists()


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ((STEP_PLACE, b"nonsense"), "does not match its name"),
        ((f"steps/ee/{STEP}", b"note of " + STEP.encode()), "does not match its name"),
        ((f"{STEP_PLACE}-x", b""), "does not belong"),
        ((f"{STEP_PLACE}-{'1' * 32}.signed.x", b""), "does not belong"),
        ((f"steps/ef/{STEP[:60]}", b""), "does not belong"),
        ((STEP_PLACE, b"", tarfile.SYMTYPE), "does not belong"),
    ],
)
def test_a_note_that_is_not_right_stays_out(empty, tmp_path, member, said):
    path = archive(tmp_path / "bad.tar", member)
    with pytest.raises(StoreError, match=said):
        read_archive(empty, path, check_pack, kept_note=kept_note)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def test_notes_on_steps_stay_out_where_nobody_reads_them(empty, tmp_path):
    path = archive(tmp_path / "a.tar", (STEP_PLACE, b"note of " + STEP.encode()))
    with pytest.raises(StoreError, match="does not match"):
        read_archive(empty, path, check_pack)


def test_what_came_before_the_bad_member_is_kept(empty, tmp_path):
    path = archive(tmp_path / "bad.tar", (BLOB_PLACE, DATA), ("evil", b""))
    with pytest.raises(StoreError):
        read_archive(empty, path, check_pack)
    assert empty.blobs.get(DIGEST) == DATA


@pytest.mark.parametrize("cut", [1, 512, 700, 1024, 1300])
def test_a_cut_archive_is_refused(full, empty, tmp_path, cut):
    export(full, tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[:cut])
    with pytest.raises(StoreError, match="truncated"):
        read_archive(empty, tmp_path / "a.tar", check_pack)
    assert list(list_items(empty.root)) == []


@pytest.mark.parametrize("content", [b"", b"no tar" * 1000, b"\x1f\x8b" + bytes(2000), b"no tar" + bytes(2042)])
def test_no_archive_at_all(empty, tmp_path, content):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(StoreError, match="not an archive"):
        read_archive(empty, tmp_path / "a.tar", check_pack)
