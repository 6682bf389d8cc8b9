"""Reports about the machine's file systems (rows b29 to b34, b41, c6, e13): images are never unpacked to build them."""

from __future__ import annotations

import errno
import os
import tarfile
from contextlib import closing

import pytest

from support.faults import pull_image
from support.images import Blobs, write_layout
from support.layers import entry, file, folder, hardlink, make_pack, symlink, tar

CAPABILITY = "\x01\0\0\x02\0\x20" + "\0" * 14
TREE = [
    folder("etc", mode=0),
    file("etc/shadow", b"secret", mode=0, uid=27, gid=27),
    folder("var/lib/mysql", mode=0o700, uid=27, gid=27),
    hardlink("etc/again", "etc/shadow"),
    symlink("var/tmp", "/tmp"),
    symlink("home", "/realhome"),
    entry("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3),
    entry("dev/fifo", tarfile.FIFOTYPE),
    file("ping", b"p", pax_headers={"SCHILY.xattr.security.capability": CAPABILITY}),
]


@pytest.fixture
def pulled(tmp_path):
    blobs = Blobs()
    write_layout(tmp_path / "image", blobs, {"1": blobs.image([tar(*TREE), tar(file("etc/.wh.shadow"))])})
    count = iter("abc")

    def run():
        name = next(count)
        return pull_image(f"oci:{tmp_path}/image:1", tmp_path / f"{name}.sif", tmp_path / f"store-{name}")

    return run


def test_b29_b30_b32_b34_b41_nothing_of_an_image_is_made_in_a_file_system(pulled, monkeypatch):
    """Hard links, links, owners, devices and attributes that the site's file system would refuse are in the file."""
    good = pulled()

    def refuse(*_arguments, **_options):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    for name in ("symlink", "mknod", "mkfifo", "setxattr", "listxattr", "chown", "lchown", "fchown"):
        monkeypatch.setattr(os, name, refuse)
    assert pulled() == good


def test_c17_e13_no_temporary_folder_is_filled(pulled, monkeypatch, tmp_path):
    good = pulled()
    for name in ("TMPDIR", "TMP", "TEMP", "SIFMAKE_TMPDIR", "APPTAINER_TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    assert pulled() == good


def test_c6_numbers_of_owners_count_and_not_their_names(tmp_path):
    """The host's account of that name has another number."""
    for name in ("daemon", "root", "nobody", ""):
        raw = tar(file("x", b"1", uid=999, gid=998, uname=name, gname=name))
        with closing(make_pack(tmp_path / f"{name}.pack", raw)) as pack:
            (one,) = pack.stored_entries()
            assert (one.uid, one.gid) == (999, 998)
