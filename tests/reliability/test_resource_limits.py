"""Limits of memory, open files, file sizes and processes: the right file or one clear line, never a crash or a hang.

CI tries a few; ``SIFMAKE_RELIABILITY=long`` a whole range, five times each.
"""

from __future__ import annotations

import os
import random
import re

import pytest

from sifmake.errors import NO_MEMORY
from support.images import Blobs, write_layout
from support.layers import file, tar
from support.measured import measured

LONG = os.environ.get("SIFMAKE_RELIABILITY") == "long"
MIB = 1 << 20
MEMORY = [*range(16, 64, 4), *range(64, 200, 10), *range(200, 700, 50)] if LONG else [24, 60, 75, 110, 200]
"""MiB of addresses."""
TOO_LITTLE = re.compile(
    f"sifmake: error: not enough memory(: the limit is .* MiB, .*)?; {re.escape(NO_MEMORY.partition('; ')[2])}"
)
TIMES = 5 if LONG else 1


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An image of layers that are compressed at the same time, and its SIF file."""
    folder = tmp_path_factory.mktemp("image")
    chance, blobs = random.Random(1), Blobs()
    layers = []
    for number in range(4):
        texts = [file(f"{number}/{at}", chance.randbytes(3000) * 40) for at in range(30)]
        layers.append(tar(*texts, file(f"{number}/l", chance.randbytes(MIB))))
    write_layout(folder / "layout", blobs, {"latest": blobs.image(layers)})
    ran = measured("pull", "-q", "good.sif", "oci:layout", cwd=folder)
    assert ran.status == 0, ran.err
    return folder / "layout", (folder / "good.sif").read_bytes()


def pull(folder, image, limit):
    """Pull in a new folder within a limit; return the status and the last line, once all that must hold is checked."""
    folder.mkdir()
    layout, good = image
    target = folder / "x.sif"
    target.write_bytes(b"old")
    ran = measured("pull", "-q", "-F", "x.sif", f"oci:{layout}", cwd=folder, before=limit)
    assert ran.status in {0, 1}, ran.err
    assert target.read_bytes() == (b"old" if ran.status else good)
    assert ran.err.count("\n") == ran.status, ran.err
    assert {path.name for path in folder.iterdir()} <= {"x.sif", "store"}
    assert not [path for path in folder.glob("store/tmp/**/*") if path.is_file()]
    return ran.status, ran.err.rstrip()


@pytest.mark.parametrize("size", MEMORY)
def test_little_memory(tmp_path, image, size):
    limit = f"resource.setrlimit(resource.RLIMIT_AS, ({size * MIB}, {size * MIB}))"
    for time in range(TIMES):
        status, line = pull(tmp_path / str(time), image, limit)
        assert not status or TOO_LITTLE.fullmatch(line)
        assert not status or size < 150


@pytest.mark.parametrize(
    ("name", "most", "says"),
    [
        ("NOFILE", 16, "open files"),
        ("NOFILE", 200, ""),
        ("FSIZE", 4096, "limit on file sizes"),
        ("FSIZE", 3 * MIB, "limit on file sizes"),
    ],
)
def test_few_files_and_small_ones(tmp_path, image, name, most, says):
    status, line = pull(tmp_path / "x", image, f"resource.setrlimit(resource.RLIMIT_{name}, ({most}, {most}))")
    assert (status, says in line) == (bool(says), True)
