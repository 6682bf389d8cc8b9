"""Running build scripts in tests, in each mode, where the host's temporary folders cannot be reached."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.corpus import CORPUS
from support.layers import make_pack
from support.runtime import environment

BASE = CORPUS / "definition/base"
USERS = {"root": 0, "subuid": 4501, "single": 4502}
_FIRST, _COUNT = 300_000, 65536
_PRIVATE = """
for place in /tmp /var/tmp; do mount -t tmpfs tmpfs $place; done
if ! setpriv --reuid=$1 --regid=$1 --clear-groups --inh-caps=-all --bounding-set=-all test -x "$PREFIX/bin"; then
  top=/$(echo "$PREFIX" | cut -d/ -f2)
  mount --bind "$PREFIX" /mnt
  mount -t tmpfs -o mode=0755 tmpfs "$top"
  mkdir -p "$PREFIX"
  mount --move /mnt "$PREFIX"
fi
for name in passwd group subuid subgid; do
  [ ! -e "$SYSTEM/$name" ] || mount --bind "$SYSTEM/$name" /etc/$name
done
user=$1; shift
[ -z "$FILES" ] || { mount -t $FILES -o mode=0700 none "$FOLDER"; chown $user:$user "$FOLDER"; }
[ $user = 0 ] && exec "$@"
exec setpriv --reuid=$user --regid=$user --clear-groups -- "$@"
"""
"""Shell text: become a user who can reach Python, with accounts and temporary folders of its own."""


_MISSING = [name for name in ("unshare", "setpriv", "newuidmap") if not shutil.which(name)]
NEEDS_ROOTLESS = [
    pytest.mark.corpus,
    pytest.mark.skipif(bool(_MISSING), reason=f"not on this machine: {', '.join(_MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root"),
    pytest.mark.skipif(not BASE.is_dir(), reason="../shared/corpus is not on this machine"),
    pytest.mark.skipif(not os.path.exists("/etc/subuid"), reason="/etc/subuid is not on this machine"),
]
"""Marks for tests that run scripts as root of some namespace: where that cannot be tried, they are skipped."""


class Builder:
    """Somebody who runs scripts in one mode.

    Attributes:
        mode: Its name.
        folder: Its own folder.
        files: Type of the file system that its folder has of its own.
        lowers: Trees that scripts run in.
    """

    def __init__(self, mode: str, root: Path, pack: Path, files: str = "") -> None:
        self.mode = mode
        self.files = files
        self.folder = root / f"{mode}{files}"
        self.folder.mkdir(mode=0o700)
        os.chown(self.folder, USERS[mode], USERS[mode])
        system = root / f"{mode}{files}-system"
        write_accounts(system, USERS[mode], granted=mode == "subuid")

        self._system, self._pack = system, pack
        self.start()
        self.do(do="unpack", place="base")
        self.lowers = [str(self.folder / "base")]

    def start(self):
        """Start the program that does it all."""
        driver = Path(__file__).with_name("rootless_driver.py")
        self.process = subprocess.Popen(
            ["unshare", "-m", "sh", "-ec", _PRIVATE, "sh", str(USERS[self.mode]),
             sys.executable, str(driver), str(self.folder), self.mode, str(self._pack)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment(
                SYSTEM=str(self._system), FILES=self.files, FOLDER=str(self.folder),
                PREFIX=sys.base_prefix, HOME="/nonexistent",
            ),
        )  # fmt: skip

    def do(self, **job):
        """Let something be done; return what came of it."""
        self.ask(**job)
        return self.answer()

    def begin(self, script):
        """Let a script start."""
        self.ask(do="run", lowers=self.lowers, options={"script": script})

    def ask(self, **job):
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def answer(self):
        answer = self.process.stdout.readline()
        assert answer, "the driver has ended"
        return SimpleNamespace(**json.loads(answer))

    def run(self, script, lowers=None, **options):
        """Run a script; return the result, its layer by path."""
        result = self.do(do="run", lowers=lowers or self.lowers, options={"script": script} | options)
        if hasattr(result, "layer"):
            result.names = [row["path"] for row in result.layer]
            result.layer = {row["path"]: SimpleNamespace(**row) for row in result.layer}
        return result

    def stack(self, place, layer):
        """Unpack what a script changed as a layer that lies over others."""
        assert not hasattr(self.do(do="stack", place=place, rows=[vars(row) for row in layer.values()]), "error")

    def left(self):
        """Return what is in its folder besides the base."""
        return sorted(set(os.listdir(self.folder)) - {"base"})

    def kill(self):
        """End the program as nobody can who is asked to."""
        self.process.kill()
        self.close()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()

    def end(self):
        self.do(do="remove", place="base")
        assert self.close() == 0


def run_as(mode: str, folder: Path, *words: str, umask: int = 0o022, **environ: str) -> str:
    """Run Python as the user of a mode, in a folder of that user; return what it printed.

    Args:
        mode: How the user becomes root in a build.
        folder: The folder; made here, and given to the user.
        words: Arguments of Python.
        umask: Its umask.
        environ: Further variables.
    """
    folder.mkdir(mode=0o700)
    os.chown(folder, USERS[mode], USERS[mode])
    system = folder.with_name(f"{folder.name}-system")
    write_accounts(system, USERS[mode], granted=mode == "subuid")
    places = {"SYSTEM": str(system), "FILES": "", "FOLDER": str(folder), "PREFIX": sys.base_prefix}
    command = ["sh", "-c", 'umask $0; exec "$@"', f"{umask:o}", sys.executable, *words]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", _PRIVATE, "sh", str(USERS[mode]), *command],
        env=environment(**places, HOME="/nonexistent", **environ),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_accounts(folder: Path, uid: int, *, granted: bool) -> None:
    """Write the lines for a user in /etc that must differ from the present ones."""
    folder.mkdir()
    if uid:
        for name, line in (
            ("passwd", f"tester:x:{uid}:{uid}::/nonexistent:/bin/sh\n"),
            ("group", f"tester:x:{uid}:\n"),
        ):
            (folder / name).write_text(Path(f"/etc/{name}").read_text() + line)
    for name in ("subuid", "subgid"):
        (folder / name).write_text(f"tester:{_FIRST}:{_COUNT}\n" if granted else "")


def base_pack(folder: Path) -> Path:
    """Write a pack of a busybox image and return it."""
    manifest = json.loads((BASE / "index.json").read_text())["manifests"][0]
    layers = json.loads(blob(manifest["digest"]).read_text())["layers"]
    path = folder / "base.pack"
    data = subprocess.run(["gzip", "-dc", blob(layers[0]["digest"])], capture_output=True, check=True).stdout
    make_pack(path, data).close()
    path.chmod(0o644)
    return path


def blob(digest: str) -> Path:
    return BASE / "blobs" / digest.replace(":", "/")
