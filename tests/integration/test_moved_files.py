"""One member of a group moves files within a shared store, or files of others into it: nobody is the worse for it."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

import pytest

from support.images import Blobs, write_layout
from support.layers import file, tar
from support.runtime import needs_runtime, open_folder
from support.two_users import ALICE, BOB, GROUP, SIFMAKE, Place, as_user, evil_pack

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root"),
    pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not on this machine"),
]


@pytest.fixture
def place():
    with open_folder() as root:
        yield Place(root)


def private_file(place):
    """A file that nobody but Bob can read, in a folder where Alice can move it."""
    common = place.root / "common"
    common.mkdir()
    os.chown(common, 0, GROUP)
    common.chmod(0o2775)
    secret = common / "secret"
    secret.write_bytes(b"only for Bob")
    os.chown(secret, BOB, BOB)
    secret.chmod(0o600)
    return secret


@pytest.mark.parametrize("shared", ["", "shared: group, ", "shared: all, "])
@pytest.mark.parametrize("name", ["stamp", "lock", "temporary"])
def test_a_private_file_that_was_moved_into_a_store_stays_private(place, name, shared):
    """Whoever writes to a folder can move what others have there, and a store is such a folder."""
    config = place.homes[BOB] / "sifmake.yaml"
    config.write_text(f"store: {{{shared}path: {place.store}}}\n")
    assert place.pull(BOB, cwd=place.homes[BOB])[0].returncode == 0
    (lock,) = (place.store / "locks").iterdir()
    target = {"stamp": ".swept", "lock": f"locks/{lock.name}", "temporary": "tmp/.tmp-layer-1-abcdefabcdef"}[name]
    secret = private_file(place)
    place.put(ALICE, f"rm -rf {target} packs; mkdir -p $(dirname {target}); mv {secret} {target}; ls {target}")
    moved = place.store / target
    (place.store / ".swept").touch()
    os.utime(place.store / ".swept", (1, 1))
    for words in (["verify"], ["gc", "--max-size", "0"]):
        as_user(BOB, *SIFMAKE, "cache", *words, cwd=place.homes[BOB])
    done, _ = place.pull(BOB, cwd=place.homes[BOB])
    assert done.returncode == 0, done.stderr
    assert moved.read_bytes() == b"only for Bob"
    assert stat.S_IMODE(moved.stat().st_mode) == 0o600


def test_what_is_not_believed_is_not_exported(place):
    assert place.pull(BOB)[0].returncode == 0
    (pack,) = place.store.glob("packs/*/*")
    evil = evil_pack(place.homes[ALICE] / "evil")
    place.put(ALICE, f"rm -f {pack}; cp {evil} {pack}; chmod 644 {pack}")
    target = place.homes[BOB] / "x.tar"
    place.cache(BOB, "export", str(target), f"oci:{place.layout}:latest")
    assert not target.exists() or b"evil" * 100 not in target.read_bytes()


def note(text):
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"names/{digest[:2]}/{digest}"


@needs_runtime
def test_names_that_were_swapped_run_nothing_else(place):
    blobs = Blobs()
    program = Path("/usr/bin/busybox").read_bytes()
    images = {
        name: blobs.image([tar(file("which", name.encode()), file("bin/busybox", program, mode=0o755))])
        for name in ("one", "two")
    }
    layout = write_layout(place.root / "both", blobs, images)
    for name in images:
        assert run_image(place, layout, name).stdout == name
    one, two = (f"oci:{layout}:{name} linux/amd64" for name in images)
    key = (place.store / note(two)).read_text().split()[0]
    for source, target in ((two, one), (f"{key} for {two}", f"{key} for {one}")):
        # The second is what an earlier version had against this.
        if (place.store / note(source)).exists():
            place.put(ALICE, f"mkdir -p $(dirname {note(target)}); mv {note(source)} {note(target)}")
    shelf = layout.rename(place.root / "shelf")  # an image in a folder is read without a note
    done = run_image(place, layout, "one", "--offline")
    assert (done.returncode, done.stdout) == (255, ""), done.stderr
    assert "is not in the store, and the run is offline" in done.stderr
    shelf.rename(layout)
    assert run_image(place, layout, "one").stdout == "one"
    layout.rename(shelf)
    assert run_image(place, layout, "one", "--offline").stdout == "one"


def run_image(place, layout, name, *options):
    words = ["exec", *options, "--runtime", "builtin", f"oci:{layout}:{name}", "/bin/busybox", "cat", "/which"]
    return as_user(BOB, *SIFMAKE, *words, SIFMAKE_CACHE=str(place.store))
