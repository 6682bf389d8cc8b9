"""The tree of a SIF equals what ``umoci unpack`` as root makes of the same image: real package files, real removals."""

import io
import os
import random
import stat
import subprocess
import tarfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from sifmake.assembly.image import SifContents, write_sif
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import make_codec
from sifmake.progress import Silent
from support.images import Blobs, write_layout
from support.layers import entry, file, flatten_layers, folder, hardlink, symlink, tar
from support.sif_files import partition_of
from support.squashfs_tools import kernel_mount, needs_kernel, read_rows
from support.umoci import needs_umoci

ENOUGH = 64 << 20
RANDOM = random.Random(11)


def package_files() -> list[str]:
    """Return paths of installed packages' files and links, enough bytes of them, folders before what is in them."""
    paths: set[str] = set()
    size = 0
    for listing in sorted(Path("/var/lib/dpkg/info").glob("*.list")):
        for line in listing.read_text().splitlines():
            real = os.path.join(os.path.realpath(os.path.dirname(line)), os.path.basename(line))
            status = os.lstat(real) if os.path.lexists(real) else None
            if status is None or real == "/" or not (status.st_mode & 0o400):
                continue
            if stat.S_ISREG(status.st_mode) and real not in paths:
                size += status.st_size
            paths.add(real)
            paths.update(str(parent) for parent in Path(real).parents if str(parent) != "/")
        if size > ENOUGH:
            return sorted(paths)
    pytest.skip(f"the packages of this machine have {size} bytes only")


def package_layer(paths: list[str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as raw:
        for path in paths:
            info = raw.gettarinfo(path, path[1:])
            info.mtime = int(info.mtime)
            info.uname = info.gname = ""
            if info.isreg():
                with open(path, "rb") as source:
                    raw.addfile(info, source)
            else:
                raw.addfile(info)
    return out.getvalue()


def upper_layers(paths: list[str]) -> list[bytes]:
    """Layers as package managers make them: upgrades, removals, whole folders gone or replaced, links."""
    files = [path[1:] for path in paths if stat.S_ISREG(os.lstat(path).st_mode)]
    folders = [path[1:] for path in paths if os.path.isdir(path) and path.count("/") > 3 and not os.path.islink(path)]
    upgraded, removed = RANDOM.sample(files, 60), RANDOM.sample(files, 60)
    gone, opaque = RANDOM.sample(folders, 8), RANDOM.sample(folders, 8)

    def marker(path: str) -> str:
        return f"{os.path.dirname(path)}/.wh.{os.path.basename(path)}"

    upgrade = [file(path, RANDOM.randbytes(RANDOM.choice([0, 10, 5000, 300_000])), uid=7, gid=8) for path in upgraded]
    upgrade += [file(marker(path)) for path in set(removed) - set(upgraded)]
    rebuilt = [folder(path, mode=0o2750, uid=12345678) for path in opaque]
    rebuilt += [file(f"{path}/.wh..wh..opq") for path in opaque] + [file(f"{path}/fresh", b"new") for path in opaque]
    rebuilt += [file(marker(path)) for path in gone if not any((o + "/").startswith(path + "/") for o in opaque)]
    odd = [
        folder("srv/odd"),
        file("srv/odd/a", b"payload"),
        hardlink("srv/odd/b", "srv/odd/a"),
        symlink("srv/odd/l", "/srv/odd/a"),
        hardlink("srv/odd/l2", "srv/odd/l"),
        file("srv/odd/suid", b"s", mode=0o6755, uid=4_000_000_000, gid=4_000_000_001),
        file("srv/odd/locked", b"l", mode=0),
        entry("srv/odd/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        entry("srv/odd/loop", tarfile.BLKTYPE, devmajor=7, devminor=300, mode=0o660),
        entry("srv/odd/pipe", tarfile.FIFOTYPE),
        file("srv/odd/caf\udce9", b"latin"),
        file("srv/odd/ping", b"p", pax_headers={"SCHILY.xattr.user.note": "value", "SCHILY.xattr.trusted.t": "x"}),
    ]
    return [tar(folder("srv"), *odd), tar(*upgrade), tar(*rebuilt), tar(file("srv/odd/.wh.a"))]


@needs_umoci
@needs_kernel
def test_package_image_equals_umoci_as_root(tmp_path):
    layers = [package_layer(package_files())]
    layers += upper_layers(package_files())
    assert len(layers[0]) > ENOUGH
    blobs = Blobs()
    image = blobs.image(layers)
    layout = write_layout(tmp_path / "layout", blobs, {"latest": image})
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:latest", tmp_path / "u"], check=True, capture_output=True)
    with ExitStack() as stack:
        flattened, packs = flatten_layers(tmp_path, layers, stack)
        contents = SifContents([], [], flattened.tree, [], packs, "amd64", 0)
        with Workers() as workers:
            write_sif(tmp_path / "x.sif", contents, make_codec("gzip"), workers, Silent().task(""))
    with kernel_mount(partition_of(tmp_path / "x.sif"), tmp_path / "mnt") as top:
        got = read_rows(top)
    want = read_rows(tmp_path / "u" / "rootfs")
    assert got.keys() == want.keys()
    assert {
        path: (got[path], row) for path, row in want.items() if comparable(path, got[path]) != comparable(path, row)
    } == {}


def comparable(path: bytes, row):
    """Leave out what umoci does otherwise: the root's time, its own xattrs, and a link to a symlink becomes a copy."""
    if path == b"":
        return row._replace(mtime=0, links=0)
    if row.type == "l":
        return row._replace(links=1, group=path)
    return row
