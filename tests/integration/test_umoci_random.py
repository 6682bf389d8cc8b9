"""Hundreds of small random layer stacks, each in its own folder, flattened by us and by ``umoci unpack`` as root.

``SIFMAKE_RELIABILITY=long`` compares 6,000.
"""

import os
import random
import subprocess
from contextlib import ExitStack

import pytest

from sifmake.layers.entry import FILE, SYMLINK
from support.images import Blobs, write_layout
from support.layers import Entry, file, flatten_layers, folder, hardlink, symlink, tar
from support.squashfs_tools import read_rows
from support.umoci import needs_umoci

SEEDS = range(40 if os.environ.get("SIFMAKE_RELIABILITY") == "long" else 3)
CASES = 150
LAYERS = 3
NAMES = "abc"


class Stack:
    """One random stack of layers below ``top``; parents are always declared, as image builders do."""

    def __init__(self, top: str, rng: random.Random) -> None:
        self._top = top
        self._rng = rng
        self._serial = 0

    def layer(self, number: int) -> list[Entry]:
        self._declared = {self._top}
        entries: list[Entry] = [folder(self._top)]
        if number == 0:
            entries += [
                folder(f"{self._top}/real"),
                symlink(f"{self._top}/way", self._rng.choice(["real", f"/{self._top}/real"])),
            ]
        for _ in range(self._rng.randint(1, 8)):
            entries += self._step(number)
        return entries

    def _step(self, number: int) -> list[Entry]:
        rng = self._rng
        if rng.random() < 0.15:
            # Below a symlinked folder, which has no entry of its own.
            name = f"{self._top}/way/{rng.choice(NAMES)}"
            return [file(self._hide(name))] if number and rng.random() < 0.4 else [self._file(name)]
        path = "/".join([self._top, *rng.choices(NAMES, k=rng.randint(1, 3))])
        upper = 3 if number else 0
        kind = rng.choices(["file", "folder", "symlink", "hardlink", "whiteout", "opaque"], [5, 3, 2, 2, upper, upper])[
            0
        ]
        if kind == "opaque":
            return [*self._parents(f"{path}/x"), file(f"{path}/.wh..wh..opq")]
        if kind == "whiteout":
            return [*self._parents(path), file(self._hide(path))]
        return [*self._parents(path), *self._object(kind, path)]

    def _object(self, kind: str, path: str) -> list[Entry]:
        rng = self._rng
        if kind == "folder":
            self._declared.add(path)
            return [folder(path, mode=rng.choice([0o755, 0o700, 0o1777]))]
        if any(known == path or known.startswith(path + "/") for known in self._declared):
            # Within one layer nobody puts a file where the layer itself has a folder.
            return []
        if kind == "symlink":
            return [symlink(path, rng.choice(["a", "../b", f"/{self._top}/c", "nowhere"]))]
        if kind == "hardlink":
            other = f"{path}.other"
            return [self._file(other), hardlink(path, other)]
        return [self._file(path)]

    def _parents(self, path: str) -> list[Entry]:
        parts = path.split("/")[:-1]
        missing = ["/".join(parts[:n]) for n in range(1, len(parts) + 1) if "/".join(parts[:n]) not in self._declared]
        self._declared.update(missing)
        return [folder(parent) for parent in missing]

    def _file(self, path: str) -> Entry:
        self._serial += 1
        return file(path, f"{path} {self._serial}".encode(), mode=self._rng.choice([0o644, 0o600, 0o4755]))

    @staticmethod
    def _hide(path: str) -> str:
        parent, _, name = path.rpartition("/")
        return f"{parent}/.wh.{name}"


@needs_umoci
@pytest.mark.parametrize("seed", SEEDS)
def test_random_stacks_equal_umoci(seed, tmp_path):
    stacks = [Stack(f"case{n}", random.Random(f"{seed}-{n}")) for n in range(CASES)]
    layers = [tar(*(entry for stack in stacks for entry in stack.layer(number))) for number in range(LAYERS)]
    blobs = Blobs()
    layout = write_layout(tmp_path / "layout", blobs, {"t": blobs.image(layers)})
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:t", tmp_path / "u"], check=True, capture_output=True)
    want = {
        path: (row.type, row.mode, row.target, row.group, row.sha256)
        for path, row in read_rows(tmp_path / "u" / "rootfs").items()
        if path
    }
    with ExitStack() as opened:
        flattened, packs = flatten_layers(tmp_path, layers, opened)
        got, groups = {}, {}
        for path, inode in flattened.tree.walk():
            group = groups.setdefault(id(inode), path)
            digest = packs[inode.layer].contents[inode.content].sha256.hex() if inode.kind == FILE else ""
            mode = 0o777 if inode.kind == SYMLINK else inode.mode
            if path:
                got[path] = ({FILE: "f", SYMLINK: "l"}.get(inode.kind, "d"), mode, inode.target, group, digest)
    assert len(got) > 2 * CASES
    assert {
        path: (got.get(path), want.get(path)) for path in got.keys() | want.keys() if got.get(path) != want.get(path)
    } == {}
