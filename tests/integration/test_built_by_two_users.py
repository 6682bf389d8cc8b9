"""Two users with a checkout each build the same file from the same lock, whoever made the lock."""

from __future__ import annotations

import os
import shutil

import pytest

from support.runtime import open_folder
from support.two_users import ALICE, BOB, SIFMAKE, Place, as_user

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root"),
    pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not on this machine"),
]
_DEFINITION = "Bootstrap: localimage\nFrom: ./tree\n\n%files\n    src /opt/src\n\n%labels\n    a b\n"


def check_out(folder, uid, time):
    """Make a project that belongs to a user, with files of some time."""
    for name, text in {
        "config/images.yaml": "images: {tool: {from: ./tool.def}}",
        "tool.def": _DEFINITION,
        "tree/etc/motd": "hi\n",
        "src/deep/file": "x",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
        os.chown(path, uid, uid)
        os.utime(path, (time, time))


def run(folder, uid, home, *words, **environ):
    done = as_user(uid, *SIFMAKE, *words, cwd=folder, SIFMAKE_CACHE=str(home / "store"), **environ)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_lock_of_one_user_builds_the_file_of_the_other():
    with open_folder() as root:
        place = Place(root)
        found = {}
        for uid, zone, time in ((ALICE, "Asia/Kathmandu", 1_000_000_000), (BOB, "America/Lima", 1_700_000_000)):
            home = place.homes[uid]
            folder = home / "project"
            check_out(folder, uid, time)
            if uid == ALICE:
                run(folder, uid, home, "lock", TZ=zone)
            else:
                (folder / "config/locks").mkdir()
                shutil.copy(place.homes[ALICE] / "project/config/locks/tool.yaml", folder / "config/locks")
                for path in (folder / "config/locks", folder / "config/locks/tool.yaml"):
                    os.chown(path, uid, uid)
            run(folder, uid, home, "rebuild", "--no-lock", TZ=zone)
            found[uid] = (folder / "images/tool.sif").read_bytes()
            assert "unchanged 1" in run(folder, uid, home, "lock", "--check", TZ=zone)
        assert found[ALICE] == found[BOB]
