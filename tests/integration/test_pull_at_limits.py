"""Pulling what is at the limits of squashfs and Linux, and one beyond: right in all readers, or one line beforehand.

``SIFMAKE_RELIABILITY=long`` adds what takes seconds: 100,000 files with attributes, 65,535 owners, 5 GiB of holes.
"""

from __future__ import annotations

import os

import pytest

from sifmake.compare.contents import open_reader
from support.images import Blobs, write_layout
from support.measured import measured
from support.sif_files import partition_of
from support.squashfs_tools import extract, kernel_mount, needs_kernel, needs_tools, read_rows, without
from support.tars import block, file, gnu_long, pax

LONG = os.environ.get("SIFMAKE_RELIABILITY") == "long"
needs_time = pytest.mark.skipif(not LONG, reason="takes long; SIFMAKE_RELIABILITY=long")
GIB = 1 << 30
PART = b"p" * 250
DEEP = b"/".join([PART] * 17)
"""A path that no system call takes as a whole."""


def pull(folder, *layers):
    """Pull an image of some layers over an old file."""
    blobs = Blobs()
    write_layout(folder / "layout", blobs, {"t": blobs.image([layer + bytes(1024) for layer in layers])})
    (folder / "x.sif").write_bytes(b"old")
    (folder / "sifmake.yaml").write_text(
        "limits: {layer-listing-bytes: 1000000000, inflate-ratio-from: 100000000000}\n"
    )
    return measured("pull", "-q", "-F", "x.sif", "oci:layout", cwd=folder)


def attributed(name, number):
    return pax((b"path", name), (b"SCHILY.xattr.user.n", b"value %07d" % number)) + file(b"x", b"%d" % number)


def link(name, target):
    return gnu_long(b"K", target) + block(name, b"2")


def owned(number):
    return block(b"%05d" % number, uid=b"%07o" % (number + 1))


def check_readers(folder):
    """Compare what the kernel, unsquashfs and our reader find; return it."""
    image = partition_of(folder / "x.sif")
    with kernel_mount(image, folder / "mnt") as top:
        rows = read_rows(top)
    assert without(read_rows(extract(image, folder / "out")), group=b"") == without(rows, group=b"")
    with open_reader(folder / "x.sif") as reader:
        ours = {node.path: (node.target, tuple(sorted(reader.read_xattrs(node).items()))) for node in reader.walk()}
    assert ours == {path: (row.target, row.xattrs) for path, row in rows.items()}
    return rows


@needs_kernel
@needs_tools("unsquashfs")
def test_the_longest_that_fit(tmp_path):
    layer = attributed(b"n" * 255, 1) + link(b"link", b"t" * 4095)
    layer += b"".join(attributed(b"d/%05d" % number, number) for number in range(2000))
    ran = pull(tmp_path, layer)
    assert ran.status == 0, ran.err
    rows = check_readers(tmp_path)
    assert rows[b"link"].target == b"t" * 4095
    assert rows[b"n" * 255].size == 1
    assert rows[b"d/01999"].xattrs == ((b"user.n", b"value 0001999"),)


@needs_kernel
def test_a_path_longer_than_any_that_linux_takes(tmp_path):
    ran = pull(tmp_path, pax((b"path", DEEP + b"/end")) + file(b"x", b"deep"))
    assert ran.status == 0, ran.err
    with kernel_mount(partition_of(tmp_path / "x.sif"), tmp_path / "mnt") as top:
        at = os.open(top, os.O_RDONLY)
        for part in DEEP.split(b"/"):
            below = os.open(part, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        with os.fdopen(os.open(b"end", os.O_RDONLY, dir_fd=at), "rb") as end:
            assert end.read() == b"deep"
        os.close(at)
    with open_reader(tmp_path / "x.sif") as reader:
        assert DEEP + b"/end" in {node.path for node in reader.walk()}


@needs_kernel
@needs_tools("unsquashfs")
def test_a_group_of_hard_links_over_127_layers(tmp_path):
    layers = [file(b"0", b"shared"), *(block(b"%d" % n, b"1", link=b"%d" % (n - 1)) for n in range(1, 127))]
    ran = pull(tmp_path, *layers)
    assert ran.status == 0, ran.err
    rows = check_readers(tmp_path)
    assert {rows[b"%d" % n].group for n in range(127)} == {b"0"}
    assert rows[b"126"].links == 127


BEYOND = {
    "a name of 257 bytes": lambda: pax((b"path", b"n" * 257)) + file(b"x"),
    "a link target of 4,096 bytes": lambda: link(b"link", b"t" * 4096),
    "a path of more than 64 KiB": lambda: pax((b"path", b"/".join([PART] * 270))) + file(b"x"),
    "an attribute's name of 256 bytes": lambda: pax((b"SCHILY.xattr.user." + b"n" * 251, b"v")) + file(b"x"),
    "an attribute of 64 KiB and a byte": lambda: pax((b"SCHILY.xattr.user.n", b"v" * 65537)) + file(b"x"),
    "65,536 owners": lambda: b"".join(map(owned, range(65535))),
}


@pytest.mark.parametrize("what", [what for what in BEYOND if LONG or what[0] == "a"])
def test_one_more_is_one_line(tmp_path, what):
    ran = pull(tmp_path, BEYOND[what]())
    assert (ran.status, ran.err.count("\n")) == (1, 1), ran.err
    assert "damaged" not in ran.err
    assert (tmp_path / "x.sif").read_bytes() == b"old"


@needs_time
@needs_kernel
@needs_tools("unsquashfs")
@pytest.mark.parametrize(
    "layer",
    [
        lambda: b"".join(attributed(b"d/%06d" % number, number) for number in range(100_000)),
        lambda: b"".join(map(owned, range(65534))),
    ],
    ids=["attributes", "owners"],
)
def test_very_many(tmp_path, layer):
    ran = pull(tmp_path, layer())
    assert ran.status == 0, ran.err
    assert len(check_readers(tmp_path)) > 65534


@needs_time
@needs_kernel
def test_a_sparse_file_beyond_4_gib(tmp_path):
    size = 5 * GIB
    sparse = [(b"major", b"1"), (b"minor", b"0"), (b"name", b"huge"), (b"realsize", b"%d" % size)]
    layer = pax(*((b"GNU.sparse." + key, value) for key, value in sparse))
    layer += file(b"x", (b"1\n%d\n4\n" % (size - 4)).ljust(512, b"\0") + b"last")
    ran = pull(tmp_path, layer)
    assert ran.status == 0, ran.err
    with kernel_mount(partition_of(tmp_path / "x.sif"), tmp_path / "mnt") as top, (top / "huge").open("rb") as huge:
        assert huge.seek(0, os.SEEK_END) == size
        huge.seek(size - 8)
        assert huge.read() == bytes(4) + b"last"
