"""The store keeps what it is given, believes only what checks out, and works where things are awkward."""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sifmake.errors import StoreError
from sifmake.oci.model import Platform
from sifmake.store import Store
from support.injector import Fault, Injector, Site
from support.messages import Messages
from support.stores import add_sif, find_named, pack_path

DATA = b'{"schemaVersion": 2}'
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
INDEX = "sha256:" + "1" * 64
KEY = "ab" * 32 + "-gzip6-128k-v1-0123456789abcdef"


@pytest.fixture
def listener():
    return Messages()


@pytest.fixture
def store(tmp_path, listener):
    return Store.open(tmp_path / "store", environ={}, progress=listener)


def put_pack(store, key=KEY, data=b"pack"):
    path = pack_path(store, key)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({"SIFMAKE_CACHE": "/a b/@:é"}, "/a b/@:é"),
        ({"SIFMAKE_CACHE": "/s", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/s"),
        ({"SIFMAKE_CACHE": "", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/sifmake"),
        # XDG base directory specification: relative paths are to be ignored.
        ({"XDG_CACHE_HOME": "rel", "HOME": "/h"}, "/h/.cache/sifmake"),
        ({"HOME": "/h@sha256:1"}, "/h@sha256:1/.cache/sifmake"),
        ({}, pwd.getpwuid(os.getuid()).pw_dir + "/.cache/sifmake"),
    ],
)
def test_where_it_is(environ, root):
    assert Store.open(environ=environ).root == Path(root)


def test_without_any_home_the_error_says_what_to_set(monkeypatch):
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(StoreError, match="SIFMAKE_CACHE"):
        Store.open(environ={})


@pytest.mark.parametrize("parent", ["file", "/proc/nothing"])
def test_a_home_that_cannot_be_written_is_said_when_something_is_to_be_written(tmp_path, parent):
    (tmp_path / "file").write_bytes(b"")
    store = Store.open(environ={"HOME": str(tmp_path / parent)})
    assert store.packs.find(KEY) is None
    assert store.blobs.get(DIGEST) is None
    with pytest.raises(StoreError, match="SIFMAKE_CACHE"):
        store.packs.write(KEY, bool)
    with pytest.raises(StoreError, match="SIFMAKE_CACHE"):
        store.temporary_folder()
    with store.lock(KEY) as held:
        assert not held


def test_opening_writes_nothing_and_the_folder_is_private(store):
    assert not store.root.exists()
    umask = os.umask(0)
    try:
        put_pack(store)
    finally:
        os.umask(umask)
    assert store.root.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_there_keeps_its_mode(store):
    store.root.mkdir()
    store.root.chmod(0o2775)
    put_pack(store)
    assert store.root.stat().st_mode & 0o7777 == 0o2775


@pytest.mark.parametrize("name", ["with blank", "a@sha256:b", "c:d", "é\u2603", "link"])
def test_any_folder_name_will_do(tmp_path, name):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = Store.open(environ={"SIFMAKE_CACHE": str(tmp_path / name)})
    store.blobs.put(DIGEST, DATA)
    path = put_pack(store)
    again = Store.open(environ={"SIFMAKE_CACHE": str(tmp_path / name)})
    assert again.blobs.get(DIGEST) == DATA
    assert again.packs.find(KEY) == path


def test_sha512_blobs_too(store):
    digest = "sha512:" + hashlib.sha512(DATA).hexdigest()
    store.blobs.put(digest, DATA)
    assert store.blobs.get(digest) == DATA


@pytest.mark.parametrize("damage", [b"", b"x", DATA[:-1], DATA + b" ", DATA.replace(b"2", b"3")])
def test_a_damaged_blob_is_dropped(store, listener, damage):
    store.blobs.put(DIGEST, DATA)
    (path,) = [path for path in store.root.rglob("*") if path.is_file() and path.name in DIGEST]
    path.write_bytes(damage)
    assert store.blobs.get(DIGEST) is None
    assert not path.exists()
    assert DIGEST in listener.warnings[0]
    store.blobs.put(DIGEST, DATA)
    assert store.blobs.get(DIGEST) == DATA


def test_a_blob_must_have_its_digest(store):
    with pytest.raises(StoreError):
        store.blobs.put(DIGEST, DATA + b"x")
    assert store.blobs.get(DIGEST) is None


@pytest.mark.parametrize(
    "bad", ["", "sha256:", "sha256:" + "g" * 64, "md5:" + "0" * 32, "sha256:../../../etc/passwd", DIGEST + "\n"]
)
def test_what_is_not_a_digest_reaches_no_file(store, bad):
    for call in (
        lambda: store.blobs.get(bad),
        lambda: store.blobs.find_manifest(bad, Platform()),
        lambda: store.blobs.remember_manifest(INDEX, Platform(), bad),
    ):
        with pytest.raises(StoreError):
            call()


@pytest.mark.parametrize("bad", ["", "a", "../x", "a/b", ".tmp-x", "a" * 300, "ab\n", "\0ab"])
def test_what_is_not_a_file_name_is_not_a_key(store, bad):
    for call in (
        lambda key: store.packs.write(key, bool),
        store.patches.drop,
        store.packs.find,
        store.packs.drop,
        store.sifs.find,
        lambda key: add_sif(store, key, 0),
    ):
        with pytest.raises(StoreError):
            call(bad)


def test_indexes_are_remembered_for_each_platform(store):
    arm = Platform("linux", "arm", "v7")
    store.blobs.remember_manifest(INDEX, Platform(), DIGEST)
    assert store.blobs.find_manifest(INDEX, Platform()) == DIGEST
    assert store.blobs.find_manifest(INDEX, arm) is None
    store.blobs.remember_manifest(INDEX, arm, INDEX)
    assert (store.blobs.find_manifest(INDEX, Platform()), store.blobs.find_manifest(INDEX, arm)) == (DIGEST, INDEX)


def test_a_hostile_platform_name_stays_inside(store, tmp_path):
    store.blobs.remember_manifest(INDEX, Platform("..", "../../..", "x\n"), DIGEST)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert store.blobs.find_manifest(INDEX, Platform("..", "../../..", "x\n")) == DIGEST


@pytest.mark.parametrize("content", [b"", b"nonsense", b"sha256:1234", b"\xff" * 500])
def test_a_damaged_memory_of_an_index_is_none(store, content):
    store.blobs.remember_manifest(INDEX, Platform(), DIGEST)
    (path,) = (path for path in store.root.rglob("*linux*"))
    path.write_bytes(content)
    assert store.blobs.find_manifest(INDEX, Platform()) is None
    store.blobs.remember_manifest(INDEX, Platform(), DIGEST)
    assert store.blobs.find_manifest(INDEX, Platform()) == DIGEST


def test_packs_and_sifs(store):
    assert store.packs.find(KEY) is store.sifs.find(KEY) is None
    path = put_pack(store)
    sif = put_sif(store)
    assert (store.packs.find(KEY), store.sifs.find(KEY)) == (path, sif)
    assert path.parent.name == KEY[:2]
    store.packs.drop(KEY)
    assert store.packs.find(KEY) is None
    store.packs.drop(KEY)


def put_sif(store, key=KEY, data=b"sif"):
    return add_sif(store, key, lambda path: path.write_bytes(data))


def test_a_finished_sif_has_its_sha256_in_its_name(store):
    first = put_sif(store)
    # printf sif | sha256sum
    assert first.name == f"{KEY}.6d27641e2684684537fb3f401639558228855c1d5721fd1b4b29fd70e8cffd1e.sif"
    assert put_sif(store) == first
    second = put_sif(store, data=b"another")
    assert store.sifs.find(KEY) == second
    assert not first.exists(), "a key means one file"
    assert put_sif(store, KEY + ".x", b"third") != store.sifs.find(KEY) == second


def test_a_sif_that_could_not_be_written_leaves_nothing(store):
    def fail(path):
        path.write_bytes(b"half")
        raise StoreError("no more")

    with pytest.raises(StoreError):
        add_sif(store, KEY, fail)
    assert store.sifs.find(KEY) is None
    assert list((store.root / "tmp").iterdir()) == []


def test_a_name_means_what_it_was_kept_for_last(store, tmp_path, listener):
    assert find_named(store, "docker://a") is None
    store.sifs.keep_name("docker://a", KEY)
    assert find_named(store, "docker://a") is None, "there is no such SIF"
    sif, other = put_sif(store), put_sif(store, "ff" + KEY)
    assert find_named(store, "docker://a") == sif
    store.sifs.keep_name("docker://a", "ff" + KEY)
    store.sifs.keep_name("docker://\udcff", KEY)
    assert (find_named(store, "docker://a"), find_named(store, "docker://\udcff")) == (other, sif)
    (kept, _) = sorted(
        (store.root / "names").rglob("?" * 64), key=lambda path: not path.read_bytes().startswith(f"ff{KEY}\n".encode())
    )
    for content in (b"", b"../x", b"\xff" * 300):
        kept.write_bytes(content)
        assert find_named(store, "docker://a") is None
    # A site's store may have the file.
    own = Store.open(tmp_path / "own", read_only=[store.root])
    own.sifs.keep_name("docker://b", KEY)
    assert find_named(own, "docker://b") == sif


def test_read_only_stores_are_asked_in_order_and_never_written(tmp_path, listener):
    site, other = (Store.open(tmp_path / name) for name in ("site", "other"))
    put_pack(site, data=b"site")
    put_pack(other, data=b"other")
    put_pack(other, KEY[::-1].replace("-", "0"), b"other only")
    site.blobs.put(DIGEST, DATA)
    site.blobs.remember_manifest(INDEX, Platform(), DIGEST)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    store = Store.open(
        tmp_path / "own",
        environ={"SIFMAKE_READONLY_CACHE": f"{tmp_path / 'missing'}:{other.root}"},
        read_only=[site.root],
        progress=listener,
    )
    assert store.packs.find(KEY).read_bytes() == b"site"
    assert store.packs.find(KEY[::-1].replace("-", "0")).read_bytes() == b"other only"
    assert store.blobs.get(DIGEST) == DATA
    assert store.blobs.find_manifest(INDEX, Platform()) == DIGEST
    put_pack(store, data=b"own")
    assert store.packs.find(KEY).read_bytes() == b"own"
    store.packs.drop(KEY)
    assert store.packs.find(KEY) is None, "a pack that was found damaged must not come from the next store in this run"
    assert {path: stamp for path in before if (stamp := path.stat().st_mtime_ns)} == before
    assert listener.warnings == []


def test_use_renews_a_time_stamp_once_an_hour(store):
    path = put_pack(store)
    for age, renewed in ((7200, True), (1800, False)):
        then = time.time() - age
        os.utime(path, (then, then))
        store.packs.find(KEY)
        assert (path.stat().st_mtime > then + 1000) is renewed


def test_no_pack_is_taken_from_a_symlink_or_a_folder(store, listener, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"x")
    path = pack_path(store, KEY)
    path.symlink_to(tmp_path / "elsewhere")
    assert store.packs.find(KEY) is None
    path.unlink()
    path.mkdir()
    assert store.packs.find(KEY) is None
    assert len(listener.warnings) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_packs_of_strangers_are_not_used(store, listener, tmp_path):
    path = put_pack(store)
    os.chown(path, 4242, 4242)
    assert store.packs.find(KEY) is None
    assert "4242" in listener.warnings[0]
    assert Store.open(store.root, trusted_owners=[4242]).packs.find(KEY) == path
    # Whoever lists a site store trusts its keeper, and nobody else in it.
    site = Store.open(tmp_path / "own", read_only=[store.root])
    assert site.packs.find(KEY) is None
    os.chown(store.root, 4242, 4242)
    assert site.packs.find(KEY) == path


def test_what_everybody_can_write_is_not_used_where_everybody_gets(store, listener):
    path = put_pack(store)
    path.chmod(0o666)
    assert store.packs.find(KEY) == path, "nobody else gets into a private store"
    store.root.chmod(0o755)
    assert store.packs.find(KEY) is None
    assert "everybody" in listener.warnings[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become somebody else")
def test_a_store_that_cannot_be_written_is_used_for_what_it_holds(store):
    put_pack(store)
    store.blobs.put(DIGEST, DATA)
    store.root.chmod(0o555)
    for folder in store.root.rglob("*"):
        if folder.is_dir():
            folder.chmod(0o555)
    code = f"""
import os, sys
sys.path[:] = {sys.path!r}
import sifmake.store.sweep, sifmake.store.exchange
from sifmake.store import Store
from sifmake.errors import StoreError
from sifmake.oci.model import Platform
os.setuid(4242)
store = Store.open(__import__("pathlib").Path({str(store.root)!r}))
assert store.blobs.get({DIGEST!r}) == {DATA!r}
assert store.packs.find({KEY!r})
store.blobs.remember_manifest({INDEX!r}, Platform(), {DIGEST!r})
with store.lock("x") as held: assert not held
try: store.packs.write("new-key", bool)
except StoreError as error: print(error)
"""
    for folder in (store.root, *store.root.parents):
        if folder.stat().st_uid == 0 and str(folder) not in ("/", "/tmp"):
            folder.chmod(0o755)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "SIFMAKE_CACHE" in result.stdout, result.stderr


def test_old_temporaries_go_and_young_ones_stay(store):
    folder = store.temporary_folder()
    kept, gone = [], []
    for path in (folder / "spool", folder / "deep" / "file", pack_path(store, KEY).with_name(".tmp-x-1-abc")):
        for age, where in ((3600, kept), (100_000, gone)):
            one = path.with_name(f"{path.name}{age}")
            one.parent.mkdir(exist_ok=True)
            one.write_bytes(b"x")
            os.utime(one, (time.time() - age,) * 2)
            where.append(one)
    (folder / "deep" / "deeper").mkdir()
    pack = put_pack(store)
    with store.lock(KEY), store.lock("other-key"):
        pass
    for path in (pack, folder, folder / "deep" / "deeper", store.root / "locks" / KEY):
        os.utime(path, (1, 1))
    store.temporary_folder()
    assert all(path.exists() for path in gone), "it was swept a moment ago"
    os.utime(store.root / ".swept", (1, 1))
    store.temporary_folder()
    assert [path.exists() for path in kept + gone] == [True] * 3 + [False] * 3
    assert pack.exists()
    assert [path.name for path in (store.root / "locks").iterdir()] == ["other-key"]
    assert (folder / "deep").exists()
    assert not (folder / "deep" / "deeper").exists()


def test_what_cannot_be_swept_disturbs_nobody(store, monkeypatch):
    others = store.temporary_folder() / "others"
    others.write_bytes(b"")
    for path in (others, store.root / ".swept"):
        os.utime(path, (1, 1))

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    store.temporary_folder()
    assert others.exists()


@pytest.mark.parametrize(
    ("module", "function"),
    [("root", "_Walk._step"), ("folder", "Folder.enter"), ("folder", "Folder._open"), ("folder", "Folder._listing")],
)
def test_what_cannot_be_read_is_not_silently_missing(tmp_path, store, listener, module, function):
    store.blobs.put(DIGEST, DATA)
    put_pack(store)
    again = Store.open(store.root, environ={}, progress=listener)
    broken = Injector(Fault(Site(f"sifmake.store.{module}", function, "open"), errno.EIO, -1))
    with broken.installed():
        assert again.packs.keys(KEY) == again.packs.keys(KEY) == ([KEY] if function == "Folder._open" else [])
        found = again.blobs.get(DIGEST)
    assert found is None or function == "Folder._listing"
    assert listener.warnings
    for message in listener.warnings:
        assert message.startswith(f"what the store has is not used: {tmp_path}/store")
        assert "Input/output error" in message
