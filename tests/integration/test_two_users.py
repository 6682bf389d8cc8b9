"""One store, two real users of one group: what one does to it neither hurts the other nor gets into his images."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time

import pytest

from sifmake.layers.codec import make_codec
from sifmake.layers.pack_format import pack_key
from support.runtime import open_folder
from support.two_users import ALICE, BOB, GROUP, LAYER, SIFMAKE, Place, as_user, evil_pack, states

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root"),
    pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not on this machine"),
]

FOLDERS = ("blobs", "indexes", "packs", "patches", "sif", "names", "tmp", "locks")
CLEANING = (["verify"], ["gc", "--max-size", "0"], ["clean", "--force"])


@pytest.fixture
def place():
    with open_folder() as root:
        yield Place(root)


@pytest.fixture(scope="module")
def good():
    with open_folder() as root:
        done, data = Place(root).pull(BOB, root / str(BOB) / "private")
        assert done.returncode == 0, done.stderr
        return data


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_in_the_place_of_a_folder_costs_nobody_a_file(place, good, name):
    assert place.pull(BOB)[1] == good
    assert place.pull(ALICE)[0].returncode == 0
    home, whole = place.victims_files()
    place.age()
    place.put(ALICE, f"mv {name} gone-{name} 2>/dev/null || true; ln -s {home} {name}")
    done, data = place.pull(BOB)
    assert whole(), done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("sifmake: error: ")]
    assert (data == good and not errors) or (done.returncode == 1 and len(errors) == 1), done.stderr
    for words in CLEANING:
        done = place.cache(BOB, *words)
        assert whole(), (words, done.stderr)
        assert "defect" not in done.stderr


def test_a_link_in_the_place_of_the_store_is_refused(place, good):
    home, whole = place.victims_files()
    os.chown(place.root, 0, GROUP)
    place.root.chmod(0o2775)
    assert place.pull(BOB)[1] == good
    done = as_user(ALICE, "sh", "-ec", f"cd {place.root}; mv store away; ln -s {home} store")
    assert done.returncode == 0, done.stderr
    for done in (place.pull(BOB)[0], *(place.cache(BOB, *words) for words in CLEANING)):
        assert done.returncode == 1, done.stderr
        assert f"belongs to user {ALICE}" in done.stderr
        assert whole()


def test_named_pipes_hold_nobody_up(place, good):
    assert place.pull(BOB)[1] == good
    files = [path.relative_to(place.store) for path in place.store.rglob("*") if path.is_file()]
    assert len(files) >= 4, "manifest, config, pack, and the stamp of sweeping"
    for path in files:
        place.put(ALICE, f"rm -f {path}; mkfifo -m 666 {path}")
    begin = time.monotonic()
    done, data = place.pull(BOB)
    assert data == good, done.stderr
    assert time.monotonic() - begin < 30
    for path in files:
        place.put(ALICE, f"rm -f {path}; mkfifo -m 666 {path}")
    assert place.cache(BOB, "verify").returncode == 1


@pytest.mark.parametrize("way", ["written", "over a file that the group can write to", "moved"])
def test_a_wrong_pack_gets_into_nobodys_image(place, good, way):
    assert place.pull(BOB)[1] == good
    evil = evil_pack(place.homes[ALICE] / "evil")
    key = pack_key(f"sha256:{hashlib.sha256(LAYER).hexdigest()}", make_codec("gzip"))
    (pack,) = place.store.glob(f"packs/*/{key}")
    assert pack.stat().st_mode & 0o777 == 0o644, "whatever the umask"
    if way == "written":
        place.put(ALICE, f"rm -f {pack}; cp {evil} {pack}; chmod 644 {pack}")
    elif way == "moved":
        place.put(ALICE, f"cp {evil} {pack}.new; mv -f {pack}.new {pack}")
    else:
        pack.chmod(0o664)  # as versions before this one left it
        place.put(ALICE, f"cat {evil} > {pack}")
    verified = place.cache(BOB, "verify")
    assert verified.returncode == 1, verified.stderr
    assert re.search(r"pack .*: (it belongs to user 4201|its group can write to it)", verified.stderr), verified.stderr
    if way.startswith("over"):
        place.put(ALICE, f"cat {evil} > {pack}.again; mv {pack}.again {pack}")
    done, data = place.pull(BOB)
    assert data == good, done.stderr
    assert b"evil" * 100 not in data
    assert place.cache(BOB, "verify").returncode == 0


def test_a_pack_that_proves_itself_is_used_whoever_made_it(place, good):
    assert place.pull(ALICE)[1] == good
    blobs = [path for path in (place.root / "layout/blobs").rglob("*") if path.is_file()]
    for path in blobs:
        if path.read_bytes() == LAYER:
            path.unlink()
    assert place.cache(BOB, "verify").returncode == 0
    done, data = place.pull(BOB)
    assert data == good, done.stderr
    assert "but it proves itself; the store has a copy now" in done.stderr
    assert {path.stat().st_uid for path in place.store.glob("packs/*/*")} == {BOB}


def configured(place, uid, text):
    """Give a user a project with a configuration."""
    config = place.homes[uid] / "config" / "config.yaml"
    config.parent.mkdir()
    config.write_text(text)
    return place.homes[uid]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_group_shares_what_its_members_pull(place, good, umask):
    text = f"store: {{path: {place.store}, shared: group, trusted-groups: [{GROUP}]}}\n"
    for uid, said in ((ALICE, "done"), (BOB, "in store")):
        done, data = place.pull(uid, cwd=configured(place, uid, text), umask=umask)
        assert data == good, done.stderr
        assert re.search(rf"^sha256:\w+  {said}", done.stderr, re.MULTILINE), done.stderr
    for path in place.store.rglob("*"):
        mark = path.name == ".swept" or path.parent.name == "locks"
        wanted = 0o2770 if path.is_dir() else 0o660 if mark else 0o640
        assert (path.stat().st_mode & 0o7777, path.stat().st_gid) == (wanted, GROUP), path
    assert as_user(BOB, *SIFMAKE, "cache", "verify", cwd=place.homes[BOB]).returncode == 0
    place.age()
    assert "removed pack" in as_user(BOB, *SIFMAKE, "cache", "gc", "--max-size", "0", cwd=place.homes[BOB]).stderr
    # Not named by the one who uses it, a group's files are nobody's.
    assert place.pull(ALICE, cwd=place.homes[ALICE], umask=umask)[1] == good
    (place.homes[BOB] / "config" / "config.yaml").write_text(f"store: {{path: {place.store}, shared: group}}\n")
    done, data = place.pull(BOB, cwd=place.homes[BOB], umask=umask)
    assert data == good, done.stderr
    assert f"belongs to user {ALICE}, who is not trusted" in done.stderr


def test_a_store_that_one_fills_and_all_read(place, good):
    filled = place.homes[ALICE] / "filled"
    place.homes[ALICE].chmod(0o755)
    text = f"store: {{path: {filled}, shared: all}}\n"
    assert place.pull(ALICE, cwd=configured(place, ALICE, text), umask=0o077)[1] == good
    before = states(filled)
    own = f"store: {{path: own, read-only: [{filled}]}}\n"
    done, data = place.pull(BOB, cwd=configured(place, BOB, own))
    assert data == good, done.stderr
    assert re.search(r"^sha256:\w+  in store", done.stderr, re.MULTILINE), done.stderr
    assert states(filled) == before
    # What somebody else put there is not the keeper's.
    (pack,) = (path for path in filled.glob("packs/*/*"))
    os.chown(pack, 4444, 4444)
    done, data = place.pull(BOB, cwd=place.homes[BOB])
    assert data == good
    assert "user 4444, who is not trusted" in done.stderr
