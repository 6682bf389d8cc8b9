"""Two real users of one group, and a store that the group writes to."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

from support.images import Blobs, write_layout
from support.layers import file, folder, make_pack, tar
from support.packs import tamper
from support.runtime import environment

ALICE, BOB, GROUP = 4201, 4202, 4300
SIFMAKE = [sys.executable, "-m", "sifmake"]
LAYER = tar(folder("bin/"), file("bin/tool", b"good" * 5000))
EVIL = tar(folder("bin/"), file("bin/tool", b"evil" * 5000))


def as_user(uid, *words, umask=0o002, cwd="/", **environ):
    """Run a command as a member of the group."""
    before = ["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={GROUP}", "--"]
    return subprocess.run(
        [*before, *map(str, words)],
        env=environment(HOME="/nonexistent", **environ),
        preexec_fn=lambda: os.umask(umask),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )


class Place:
    """A folder that all can reach, with a store that the group writes to, and a home for each."""

    def __init__(self, root):
        self.root = root
        self.store = root / "store"
        self.store.mkdir()
        os.chown(self.store, 0, GROUP)
        self.store.chmod(0o2775)
        self.homes = {}
        for uid in (ALICE, BOB):
            self.homes[uid] = root / str(uid)
            self.homes[uid].mkdir()
            os.chown(self.homes[uid], uid, uid)
        blobs = Blobs()
        self.layout = write_layout(root / "layout", blobs, {"latest": blobs.image([LAYER], compression="none")})

    def pull(self, uid, store=None, **options):
        """Pull the image as a user; return what was said and the bytes of the file."""
        target = self.homes[uid] / "x.sif"
        if "cwd" not in options:
            options["SIFMAKE_CACHE"] = str(store or self.store)
        done = as_user(uid, *SIFMAKE, "pull", "--force", target, f"oci:{self.layout}:latest", **options)
        return done, target.read_bytes() if done.returncode == 0 else b""

    def cache(self, uid, *words):
        return as_user(uid, *SIFMAKE, "cache", *words, SIFMAKE_CACHE=str(self.store))

    def put(self, uid, script):
        """Let a user do something in the store by hand."""
        done = as_user(uid, "sh", "-ec", f"cd {self.store}; {script}")
        assert done.returncode == 0, done.stderr

    def victims_files(self):
        """Old files of Bob's that look like a store's inside; return a function that tells whether all are there."""
        home = self.homes[BOB] / "home"
        digest = hashlib.sha256(LAYER).hexdigest()
        for place in (
            "thesis.tex",
            ".tmp-mine",
            "ab/file",
            f"{digest[:2]}/{digest}-x",
            f"sha256/{digest[:2]}/{digest}",
        ):
            path = home / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"mine")
        for path in [*home.rglob("*"), home]:
            os.chown(path, BOB, BOB)
            os.utime(path, (1, 1))
        before = states(home)
        return home, lambda: states(home) == before

    def age(self):
        for path in self.store.rglob("*"):
            os.utime(path, (time.time() - 3 * 86400,) * 2, follow_symlinks=False)


def states(home):
    return {path: (path.lstat().st_mode, path.lstat().st_mtime) for path in home.rglob("*")}


def evil_pack(path):
    """Write a pack of other files that says of itself that it is the layer's, with checksums that fit."""
    make_pack(path, EVIL).close()
    wanted, own = (f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (LAYER, EVIL))

    def claim(parts):
        meta = parts["meta"]
        for key, value in list(meta.items() if isinstance(meta, dict) else enumerate(meta)):
            if value == own:
                meta[key] = wanted

    tamper(path, claim)
    assert wanted.encode() in path.read_bytes()
    path.chmod(0o644)
    return path
