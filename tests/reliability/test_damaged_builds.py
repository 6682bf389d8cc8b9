"""Files that a build of a definition keeps are damaged: the next build drops them and gives the same bytes.

CI does one damage, of the data of a pack; ``SIFMAKE_RELIABILITY=long`` 200, by number, the same in every run.
"""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from sifmake.errors import SifmakeError
from support.building import Works, needs_scripts
from support.faults import damage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NUMBERS = range(200) if os.environ.get("SIFMAKE_RELIABILITY") == "long" else (29,)
KINDS = ("flip", "cut", "zeros", "empty")
POST = """%files
    tool.txt /opt/tool.txt

%post
    echo one > /etc/one
# sifmake: step
    cat /etc/one /opt/tool.txt > /all
"""
MORE = POST + "# sifmake: step\n    cat /all /etc/passwd /bin/busybox > /more\n"
"""With a step more, so that a build starts from what the others have left."""


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], bytes]:
    """Return a function that builds with the store and the unpacked trees in a folder, and returns the file."""
    works = Works(tmp_path)
    (tmp_path / "tool.txt").write_text("tool\n")
    monkeypatch.chdir(tmp_path)
    for name in ("fsync", "fdatasync"):  # no power fails here
        monkeypatch.setattr(os, name, lambda _fd: None)

    def run(sections: str, folder: Path) -> bytes:
        folder.mkdir(exist_ok=True)
        monkeypatch.setenv("SIFMAKE_CACHE", str(folder / "store"))
        monkeypatch.setenv("SIFMAKE_TMPDIR", str(folder))
        return works.build(sections).path.read_bytes()

    return run


@needs_scripts
def test_no_damage_of_what_a_build_keeps_gives_wrong_bytes_or_stays(
    tmp_path: Path, build: Callable[[str, Path], bytes]
) -> None:
    good = {sections: build(sections, tmp_path / "calm") for sections in (POST, MORE)}
    kept, now = tmp_path / "kept", tmp_path / "now"
    build(POST, kept)
    bad = []
    for number in NUMBERS:
        dice = random.Random(number)
        shutil.copytree(kept, now, symlinks=True)
        files = sorted(path for path in now.rglob("*") if path.is_file() and not path.is_symlink())
        part = dice.choice(sorted({path.relative_to(now).parts[:2] for path in files}))
        path = dice.choice([path for path in files if path.relative_to(now).parts[:2] == part])
        kind, sections = dice.choice(KINDS), dice.choice([POST, MORE])
        damage(path, kind, dice)
        what = f"{number}: {kind} of {path.relative_to(now)}, {'more' if sections == MORE else 'same'}"
        try:
            if build(sections, now) != good[sections]:
                bad.append(f"{what}: wrong bytes")
        except (SifmakeError, OSError) as error:
            bad.append(f"{what}: {error}")
        shutil.rmtree(now)
    assert "\n".join(bad) == ""
