"""Builds that are killed: no wrong layer is ever taken, and the next build ends as if nothing had been."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import sifmake
from support.building import Works, needs_scripts

KILLS = 50 if os.environ.get("SIFMAKE_RELIABILITY") == "long" else 4
POST = """%files
    base /copied

%post
    i=0; while [ $i -lt 300 ]; do echo "$i" > "/etc/n$i"; i=$((i + 1)); done
# sifmake: step
    cat /etc/n[0-9]* > /all; rm /etc/n1*
# sifmake: step
    mv /root /elsewhere
"""


@needs_scripts
def test_a_killed_build_leaves_no_wrong_layer(tmp_path, monkeypatch):
    works = Works(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "calm"))
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(tmp_path))
    begin = time.monotonic()
    good = works.build(POST, "good.sif").path.read_bytes()
    seconds = time.monotonic() - begin + 0.5
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "killed"))
    words = [sys.executable, "-m", "sifmake", "-q", "build", "-F", "out.sif", "tool.def"]
    chance = random.Random(16)
    for _ in range(KILLS):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.2, seconds))
        process.kill()
        process.wait()
    assert not Path("out.sif").exists() or Path("out.sif").read_bytes() == good
    assert sifmake.build("tool.def", "out.sif", force=True).path.read_bytes() == good
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp-")]
    assert not list((tmp_path / f"sifmake-{os.geteuid()}/runs").iterdir())
