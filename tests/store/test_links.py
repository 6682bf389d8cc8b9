"""Links, FIFOs and folders that somebody put into a store lead nowhere and hold nothing up."""

from __future__ import annotations

import hashlib
import os
import shutil
import time

import pytest

from sifmake.cli.main import main
from sifmake.errors import StoreError
from sifmake.layers.codec import make_codec
from sifmake.layers.pack_format import pack_key
from sifmake.oci.model import Platform
from sifmake.steps.step_notes import StepNote, find_note, keep_note
from sifmake.store import Store
from sifmake.store.naming import KINDS, LOCKS, SCRATCH
from support.layers import file, make_pack, tar
from support.messages import Messages
from support.stores import add_sif, find_named, pack_path

KEY = "ab" * 32 + "-gzip6-128k-v1-0123456789abcdef"
STEP = KEY[:64]
DATA = b"{}"
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
LONG_AGO = (1, 1)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return fill(Store.open(progress=Messages()))


def fill(store):
    store.blobs.put(DIGEST, DATA)
    pack_path(store, KEY).write_bytes(b"pack")
    add_sif(store, KEY, lambda path: path.write_bytes(b"sif"))
    with store.patches.writing(KEY + "-x") as file:
        file.write(b"patch")
    store.blobs.remember_manifest(DIGEST, Platform(), DIGEST)
    store.sifs.keep_name("docker://a", KEY)
    keep_note(store, StepNote(STEP, DIGEST, "root", "make"))
    with store.lock(KEY):
        pass
    return store


def use(store):
    """Do everything that is done in a store; report what fails."""
    for work in (
        lambda: store.blobs.put(DIGEST, DATA),
        lambda: store.blobs.get(DIGEST),
        lambda: store.packs.write(KEY, lambda file: file.write(b"new")),
        lambda: store.packs.find(KEY),
        lambda: store.packs.keys(KEY[:64]),
        lambda: store.packs.drop(KEY),
        lambda: store.patches.open_latest(KEY[:64], 4),
        lambda: store.patches.drop(KEY + "-x"),
        lambda: add_sif(store, KEY, lambda path: path.write_bytes(b"other")),
        lambda: store.sifs.find(KEY),
        lambda: store.blobs.remember_manifest(DIGEST, Platform(), DIGEST),
        lambda: store.blobs.find_manifest(DIGEST, Platform()),
        lambda: store.sifs.keep_name("docker://a", KEY),
        lambda: find_named(store, "docker://a"),
        lambda: keep_note(store, StepNote(STEP, DIGEST, "root", "make install")),
        lambda: find_note(store, STEP),
        lambda: store.packs.place(store.packs.write_temporary(lambda file: file.write(b"x"))[0], KEY),
        lambda: store.lock(KEY).__enter__(),
        store.sweep,
        lambda: main(["cache", "list", "-v"]),
        lambda: main(["cache", "verify"]),
        lambda: main(["cache", "gc", "--max-size", "0"]),
        lambda: main(["cache", "export", "out.tar"]),
        lambda: main(["cache", "clean", "--force"]),
    ):
        try:
            work()
        except (StoreError, OSError) as error:
            store.progress.warning(str(error))


def contents(folder):
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def victim_like(tmp_path, folder):
    """Make a home that looks like a folder of a store inside, everything in it old."""
    home = tmp_path / "home"
    digest = DIGEST.partition(":")[2]
    for place in (
        "thesis.tex",
        ".tmp-important",
        "deep/er/file",
        f"{KEY[:2]}/{KEY}",
        f"{KEY[:2]}/.tmp-x",
        f"{digest[:2]}/{digest}",
        f"sha256/{digest[:2]}/{digest}",
        KEY,
    ):
        path = home / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    for path in (*home.rglob("*"), home):
        os.utime(path, LONG_AGO)
    return home


def age(root):
    for path in root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (time.time() - 3 * 86400,) * 2)


@pytest.mark.parametrize("folder", [*KINDS, SCRATCH, LOCKS])
def test_a_link_in_the_place_of_a_folder_is_not_followed(store, tmp_path, folder):
    home = victim_like(tmp_path, folder)
    before = contents(home)
    age(store.root)
    (store.root / folder).rename(tmp_path / "away")
    (store.root / folder).symlink_to(home)
    use(Store.open(progress=store.progress))
    assert contents(home) == before
    said = "\n".join(store.progress.warnings)
    assert f"{store.root / folder}: the store needs a folder here, but this is a link" in said


@pytest.mark.parametrize("folder", KINDS)
def test_a_link_in_the_place_of_a_folder_further_down_is_not_followed(store, tmp_path, folder):
    home = victim_like(tmp_path, folder)
    before = contents(home)
    age(store.root)
    for path in (store.root / folder).iterdir():
        path.rename(tmp_path / f"away-{path.name}")
        path.symlink_to(home)
    use(Store.open(progress=store.progress))
    assert contents(home) == before


@pytest.mark.parametrize("make", ["link", "dangling", "fifo", "folder"])
def test_what_is_not_a_file_is_neither_read_nor_written_through_nor_waited_for(store, tmp_path, make):
    target = tmp_path / "target"
    if make == "link":
        target.write_bytes(b"mine")
        os.utime(target, LONG_AGO)
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert len(files) == 9, "a file of each kind, a lock and the stamp of sweeping"
    for path in files:
        path.unlink()
        if make in ("link", "dangling"):
            path.symlink_to(target)
        elif make == "fifo":
            os.mkfifo(path)
        else:
            path.mkdir()
        os.utime(path, LONG_AGO, follow_symlinks=False)
    use(Store.open(progress=store.progress))
    assert [(path.read_bytes(), path.stat().st_mtime) for path in [target] if path.exists()] == (
        [(b"mine", 1)] if make == "link" else []
    )


def test_the_stores_own_path_may_have_links_of_the_user(store, tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "cache").symlink_to("scratch/../scratch")
    linked = Store.open(tmp_path / "cache" / "sifmake", environ={})
    assert fill(linked).packs.find(KEY) == tmp_path / "cache" / "sifmake" / "packs" / "ab" / KEY
    assert (tmp_path / "scratch" / "sifmake" / "packs").is_dir()
    (tmp_path / "round").symlink_to("round")
    assert Store.open(tmp_path / "round", environ={}).packs.find(KEY) is None
    with pytest.raises(StoreError, match="Too many levels"):
        Store.open(tmp_path / "round", environ={}).packs.write(KEY, bool)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links away")
def test_the_stores_own_path_has_no_links_of_others(store, tmp_path):
    (tmp_path / "link").symlink_to(store.root)
    os.chown(tmp_path / "link", 4242, 4242, follow_symlinks=False)
    listener = Messages()
    linked = Store.open(tmp_path / "link", environ={}, progress=listener)
    assert linked.packs.find(KEY) is None
    assert "the link link in this path belongs to user 4242" in listener.warnings[0]
    with pytest.raises(StoreError, match="4242"):
        linked.packs.write(KEY, bool)
    trusting = Store.open(tmp_path / "link", environ={}, trusted_owners=[4242])
    assert trusting.packs.find(KEY) is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_folders_of_strangers_are_not_entered(store, tmp_path):
    os.chown(store.root / "packs", 4242, 4242)
    assert store.packs.find(KEY) is None
    assert "belongs to user 4242" in store.progress.warnings[0]
    with pytest.raises(StoreError, match="4242"):
        store.packs.write(KEY, lambda file: file.write(b"x"))
    assert Store.open(store.root, environ={}, trusted_owners=["4242"]).packs.find(KEY) is not None
    # In a store that a group writes to, any member may have made it first.
    os.chown(store.root, 0, 4242)
    store.root.chmod(0o2770)
    assert store.packs.find(KEY) is not None


def test_a_folder_that_others_moved_in_is_not_emptied(store, tmp_path):
    """Whoever may write to a store's folder can move a whole folder of somebody's there that he cannot write to."""
    theirs = store.root / SCRATCH / "theirs"
    shaped = store.root / "packs" / "mo"
    for folder, name in ((theirs, "data"), (shaped, "model.h5")):
        folder.mkdir(parents=True)
        (folder / name).write_bytes(b"mine")
        for path in (folder / name, folder):
            os.utime(path, LONG_AGO)
    for path in (store.root, store.root / SCRATCH, shaped):
        path.chmod(0o2775)
    before = contents(theirs), contents(shaped)
    use(Store.open(progress=store.progress))
    assert (contents(theirs), contents(shaped)) == before


def test_own_scratch_folders_of_killed_runs_go_also_where_others_write(store, tmp_path):
    with store.scratch_folder() as scratch:
        names = scratch.names()
    assert not scratch.path.exists()
    left = scratch.path
    left.mkdir(mode=0o700)
    for name in (*names, "half.sif"):
        (left / name).write_bytes(b"x")
    left.parent.chmod(0o2775)
    for path in (*left.iterdir(), left):
        os.utime(path, LONG_AGO)
    store.sweep()
    assert not left.exists()


def test_a_store_that_was_removed_meanwhile_is_made_again(store):
    shutil.rmtree(store.root)
    assert store.packs.find(KEY) is None
    store.blobs.put(DIGEST, DATA)
    assert store.blobs.get(DIGEST) == DATA


@pytest.mark.parametrize("folder", [*KINDS, SCRATCH, LOCKS])
def test_verify_finds_a_link_in_the_place_of_a_folder(store, tmp_path, capsys, folder):
    (store.root / folder).rename(tmp_path / "away")
    (store.root / folder).symlink_to(tmp_path / "away")
    assert main(["cache", "verify"]) == 1
    said = capsys.readouterr().err
    assert f"{store.root / folder}: the store needs a folder here, but this is a link" in said
    assert "1 not trusted" in said
    assert (tmp_path / "away").is_dir()


@pytest.mark.parametrize("make", ["link", "fifo"])
def test_verify_finds_what_is_not_a_file(store, tmp_path, capsys, make):
    fill_with_real_files(store)
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert len(files) == 8, "a file of each kind but patches, a lock and the stamp of sweeping"
    for path in files:
        path.rename(tmp_path / "kept")
        path.symlink_to(tmp_path / "kept") if make == "link" else os.mkfifo(path)
        assert main(["cache", "verify"]) == 1, path
        said = capsys.readouterr().err
        assert "not a regular file" in said, path
        path.unlink(missing_ok=True)
        (tmp_path / "kept").rename(path)
        assert main(["cache", "verify"]) == 0, path


def fill_with_real_files(store):
    """Leave only what passes verify: a pack and a patch of a few bytes do not."""
    for name in ("packs", "patches"):
        shutil.rmtree(store.root / name)
    stream = tar(file("etc/motd", b"hello"))
    key = pack_key(f"sha256:{hashlib.sha256(stream).hexdigest()}", make_codec("gzip"))
    make_pack(pack_path(store, key), stream).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("kind", "way"),
    [(kind, way) for kind in ("packs", "sif", "names", "indexes") for way in ("stranger", "group", "everybody")],
)
def test_verify_finds_files_of_strangers_and_those_that_others_can_write(store, capsys, kind, way):
    fill_with_real_files(store)
    store.root.chmod(0o2775)
    assert main(["cache", "verify"]) == 0
    (path,) = (path for path in (store.root / kind).rglob("*") if path.is_file())
    if way == "stranger":
        os.chown(path, 4242, -1)
    else:
        path.chmod(0o664 if way == "group" else 0o646)
    capsys.readouterr()
    if (kind, way) == ("packs", "stranger"):
        assert main(["cache", "verify"]) == 0, "a pack proves itself, whoever wrote it"
        return
    assert main(["cache", "verify"]) == 1
    said = capsys.readouterr().err
    assert {"stranger": "user 4242", "group": "its group can", "everybody": "everyone can"}[way] in said
    assert path.exists() is (way == "stranger"), "what is somebody else's is left alone, what is ours is made again"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_a_named_group_are_used_and_its_members_may_write_them(store):
    (path,) = (path for path in (store.root / "packs").rglob("*") if path.is_file())
    store.root.chmod(0o2770)
    os.chown(path, 4242, 4300)
    path.chmod(0o664)
    assert store.packs.find(KEY) is None
    trusting = Store.open(store.root, environ={}, trusted_groups=["4300"])
    assert trusting.packs.find(KEY) == path
    path.parent.chmod(0o2777)
    assert trusting.packs.find(KEY) is None, "where everybody writes, anybody's file gets the group's id"
    # A trusted owner's file that a group which is not named can write to.
    path.parent.chmod(0o2770)
    assert Store.open(store.root, environ={}, trusted_owners=[4242]).packs.find(KEY) is None
    assert Store.open(store.root, environ={}, trusted_owners=["nobody-of-this-name"]).packs.find(KEY) is None


@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077])
@pytest.mark.parametrize(
    ("shared", "groups", "root", "folder", "mode"),
    [
        ("none", (), 0o700, 0o700, 0o600),
        ("group", (), 0o2750, 0o2750, 0o640),
        ("group", (0,), 0o2770, 0o2770, 0o640),
        ("all", (), 0o755, 0o755, 0o644),
    ],
)
def test_modes_whatever_the_umask(tmp_path, shared, groups, root, folder, mode, umask):
    before = os.umask(umask)
    try:
        store = fill_by_descriptor(Store.open(tmp_path / "s", environ={}, shared=shared, trusted_groups=groups))
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o7777 for path in store.root.rglob("*")}
    assert store.root.stat().st_mode & 0o7777 == root
    assert {modes[path] for path in modes if path.is_dir()} == {folder}
    marks = {path for path in modes if path.name == ".swept" or path.parent.name == "locks"}
    assert {modes[path] for path in modes.keys() - marks if path.is_file()} == {mode}
    assert {modes[path] for path in marks} == {mode | (folder & 0o020)}, "a lock is taken by all who write"


def fill_by_descriptor(store):
    store.blobs.put(DIGEST, DATA)
    os.close(store.packs.write(KEY, lambda file: file.write(b"pack")).fd)
    store.packs.place(store.packs.write_temporary(lambda file: file.write(b"x"))[0], KEY[::-1].replace("-", "0"))
    add_sif(store, KEY, lambda path: path.write_bytes(b"sif"))
    with store.patches.writing(KEY + "-x") as file:
        file.write(b"patch")
    store.blobs.remember_manifest(DIGEST, Platform(), DIGEST)
    store.sifs.keep_name("docker://a", KEY)
    with store.lock(KEY):
        pass
    return store


def test_escape_sequences_in_names_are_shown_as_text(store, capsys):
    (store.root / "packs" / "ab" / "\x1b]0;title\x07").write_bytes(b"x")
    (store.root / "packs" / "ab" / "\x1b[31m").mkdir()
    (store.root / "packs" / "\x1b[32m").symlink_to("nowhere")
    for words in (["list", "-v"], ["list", "--json"], ["verify"], ["gc", "--max-size", "0"], ["clean", "-f"]):
        main(["cache", *words])
        shown = capsys.readouterr()
        assert "\x1b" not in shown.out + shown.err, words
        assert "\x07" not in shown.out + shown.err, words
    (store.root / "packs" / "ab" / "\x1b]0;title").write_bytes(b"x")
    main(["cache", "list", "-v"])
    assert "\\x1b]0;title" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_is_judged_is_what_is_read_whatever_takes_its_name_meanwhile(store, tmp_path, monkeypatch):
    """A stranger's file takes the pack's name after each of the calls that finding one makes."""
    (path,) = (path for path in (store.root / "packs").rglob("*") if path.is_file())
    evil = tmp_path / "evil"
    outcomes = []
    while len(outcomes) < 30:
        evil.write_bytes(b"evil")
        os.chown(evil, 4242, 4242)
        calls = iter(range(30))
        with monkeypatch.context() as patched:
            for name in ("open", "fstat"):
                patched.setattr(os, name, swapping(getattr(os, name), calls, len(outcomes), path, evil))
            found = store.packs.open(KEY)
        swapped = not evil.exists()
        outcomes.append(found is not None)
        assert found is None or os.pread(found.fd, 9, 0) == b"pack"
        if not swapped:
            break
        os.replace(tmp_path / "good", path)
    assert 6 < len(outcomes) < 30
    assert outcomes[0] is False, "swapped before it was opened"
    assert outcomes[-2:] == [True, True], "swapped after it was opened, or not at all"


def swapping(real, calls, at, path, evil):
    def call(*args, **named):
        result = real(*args, **named)
        if next(calls) == at:
            path.rename(evil.with_name("good"))
            evil.rename(path)
        return result

    return call


def test_a_scratch_folder_that_others_enter_is_not_used(tmp_path, monkeypatch):
    """Somebody who watches the folder puts one of his own in the place of the one that was made a moment ago."""
    store = Store.open(tmp_path / "store")
    store.temporary_folder()
    make = os.mkdir

    def make_and_lose(name, mode=0o777, *, dir_fd=None):
        make(name, mode, dir_fd=dir_fd)
        if ".tmp-scratch" in str(name):
            os.rmdir(name, dir_fd=dir_fd)
            make(name, 0o750, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", make_and_lose)
    with pytest.raises(StoreError, match="the temporary folder was replaced by another user"):
        add_sif(store, KEY, lambda path: path.write_bytes(b"x"))
    assert store.sifs.find(KEY) is None


def test_a_file_that_took_the_place_of_a_temporary_keeps_its_mode(tmp_path):
    """In a folder that a group writes to, another member can put a private file of this user under that name."""
    store = Store.open(tmp_path / "store", shared="all")
    for folder in (store.root, store.temporary_folder()):
        folder.chmod(0o2775)
    name, _ = store.packs.write_temporary(lambda file: file.write(b"layer"))
    temporary = store.temporary_folder() / name
    temporary.unlink()
    temporary.write_bytes(b"private")
    temporary.chmod(0o600)
    store.packs.place(name, KEY)
    assert (store.root / "packs" / KEY[:2] / KEY).stat().st_mode & 0o777 == 0o600
