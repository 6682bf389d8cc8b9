"""What the tests of faults share: an image that takes every path of the code, and a pull of it in this process."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sifmake.builder.pull import PullRequest, pull
from sifmake.progress import Silent
from sifmake.project.configuration import Configuration
from support.images import Blobs, write_layout
from support.layers import file, folder, hardlink, symlink, tar

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MIB = 1 << 20
PLATFORM = "linux/amd64"


def sync_often(monkeypatch: pytest.MonkeyPatch, every: int = MIB // 4) -> None:
    """Have files of a few hundred KiB synced in the background, as large ones are."""
    monkeypatch.setattr("sifmake.layers.blocks.SYNC_BYTES", every)
    monkeypatch.setattr("sifmake.assembly.image.SYNC_BYTES", every)


def layers(size: int = 2 * MIB) -> list[bytes]:
    """Return layers of an image with everything that an image can have: half of the small files are deleted again."""
    noise = random.Random(5)
    small = {f"usr/share/f{n:03}": noise.randbytes(15_000) * 2 for n in range(120)}
    lower = tar(
        *(folder(name) for name in ("bin", "etc", "usr", "usr/share")),
        file("bin/sh", b"\x7fELF\x02\x01\x01" + bytes(11) + b"\x3e\x00" + noise.randbytes(3000), mode=0o755),
        file("usr/large", noise.randbytes(size)),
        *(file(name, data) for name, data in small.items()),
    )
    gone = [name.replace("/f", "/.wh.f") for name in list(small)[::2]]
    upper = tar(
        *(file(name) for name in gone),
        file("etc/motd", b"hello\n"),
        file("usr/moved", lower[:0] + list(small.values())[1]),
        symlink("usr/link", "large"),
        hardlink("usr/same", "usr/large"),
    )
    return [lower, upper]


def write_image(folder_: Path, size: int = 2 * MIB) -> str:
    """Write the image as an OCI layout; return its URI."""
    blobs = Blobs()
    write_layout(folder_, blobs, {"latest": blobs.image(layers(size), config={"Cmd": ["/bin/sh"]})})
    return f"oci:{folder_}:latest"


def pull_image(uri: str, target: Path, store: Path, progress: Silent | None = None) -> bytes:
    """PullRequest an image in this process; return the file's bytes."""
    pull(PullRequest(uri, target), progress or Silent(), Configuration(store=store))
    return target.read_bytes()


def damage(path: Path, kind: str, dice: random.Random) -> None:
    """Flip a bit of a file, cut it, write zeros into it, or empty it, at a place of the dice."""
    data = bytearray(path.read_bytes())
    at = dice.randrange(len(data)) if data else 0
    match kind:
        case "flip" if data:
            data[at] ^= 1 << dice.randrange(8)
        case "cut":
            del data[at:]
        case "zeros":
            data[at : at + 512] = bytes(len(data[at : at + 512]))
        case _:
            data.clear()
    path.write_bytes(data)
