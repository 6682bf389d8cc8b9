"""The reader of archives beside Python's tarfile, and on archives that no tool would write."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from sifmake.errors import IntegrityError
from sifmake.sources.tar_archive import TarArchive

NAMES = ["a", "./b", "dir/c", "d" * 90 + "/" + "e" * 99, "f" * 150 + "/" + "g" * 150, "ü/ß", "/abs", "x//y/./z"]


def archive_of(data, tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    return TarArchive(os.open(path, os.O_RDONLY))


def write(form, members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name, data=b"", kind=tarfile.REGTYPE, link="", **fields):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_tarfile(tmp_path, form):
    names = [name for name in NAMES if form != tarfile.USTAR_FORMAT or len(name) < 200]
    data = write(form, [member(name, f"{n}".encode() * n * 300) for n, name in enumerate(names)])
    archive = archive_of(data, tmp_path)
    with tarfile.open(fileobj=io.BytesIO(data)) as reference:
        for info in reference:
            name = os.path.normpath(info.name).lstrip("/")
            with archive.open(name) as found:
                assert found.read() == reference.extractfile(info).read()
    archive.close()


def test_links_and_the_last_of_two_names(tmp_path):
    members = [
        member("dir/real", b"old"),
        member("dir/real", b"new"),
        member("sub/link", kind=tarfile.SYMTYPE, link="../dir/real"),
        member("again", kind=tarfile.SYMTYPE, link="sub/link"),
        member("sub/hard", kind=tarfile.LNKTYPE, link="dir/real"),
        member("absolute", kind=tarfile.SYMTYPE, link="/dir/real"),
    ]
    archive = archive_of(write(tarfile.PAX_FORMAT, members), tmp_path)
    for name in ("dir/real", "sub/link", "again", "sub/hard"):
        assert archive.open(name).read() == b"new"
    archive.close()


@pytest.mark.parametrize(
    ("target", "error"),
    [("../outside", FileNotFoundError), ("missing", IntegrityError), ("../../dir/real", FileNotFoundError)],
)
def test_links_that_lead_nowhere(tmp_path, target, error):
    members = [member("dir/real", b"x"), member("link", kind=tarfile.SYMTYPE, link=target)]
    archive = archive_of(write(tarfile.GNU_FORMAT, members), tmp_path)
    with pytest.raises(error):
        archive.open("link")
    archive.close()


def test_a_circle_of_links(tmp_path):
    members = [member("a", kind=tarfile.SYMTYPE, link="b"), member("b", kind=tarfile.SYMTYPE, link="a")]
    archive = archive_of(write(tarfile.GNU_FORMAT, members), tmp_path)
    with pytest.raises(IntegrityError, match="loop"):
        archive.open("a")
    archive.close()


def test_two_readers_do_not_disturb_each_other(tmp_path):
    archive = archive_of(write(tarfile.GNU_FORMAT, [member("a", b"abcdef"), member("b", b"123456")]), tmp_path)
    first, second = archive.open("a"), archive.open("b")
    assert [first.read(2), second.read(3), first.read(2), second.read(), first.read()] == [
        b"ab",
        b"123",
        b"cd",
        b"456",
        b"ef",
    ]
    archive.close()


def header(**changes):
    block = bytearray(write(tarfile.USTAR_FORMAT, [member("name", b"data")])[:512])
    for position, value in changes.values():
        block[position : position + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a tar archive"),
        (b"\0" * 2000, "not a tar archive"),
        (b"PK\x03\x04" + b"x" * 2000, "not a tar archive"),
        (header(), "truncated"),
        (header() + b"data".ljust(512, b"\0") + b"garbage" * 100, "damaged at byte 1024"),
        (header() + b"data".ljust(512, b"\0") + header()[:300], "truncated: .* inside a header"),
        (header(size=(124, b"-0000000001\0")), "without a valid size"),
        (header(size=(124, b"99999999999\0")), "without a valid size"),
        (header(size=(124, b"\xff" * 12)), "without a valid size"),
        (header(size=(124, b"\x80" + b"\xff" * 11)), "truncated"),
        (header(kind=(156, b"x"), size=(124, b"00020000000\0")) + b"\0" * (4 << 20), "a header of 4194304 bytes"),
        (header(kind=(156, b"x")) + b"99 path=x\n".ljust(512, b"\0"), "damaged pax header"),
        (header(kind=(156, b"x")) + b"zz".ljust(512, b"\0"), "damaged pax header"),
    ],
)
def test_archives_that_are_none(tmp_path, data, words):
    with pytest.raises(IntegrityError, match=words):
        archive_of(data, tmp_path)


def test_a_size_in_binary(tmp_path):
    block = header(size=(124, b"\x80" + (4).to_bytes(11, "big")))
    archive = archive_of(block + b"data".ljust(512, b"\0") + b"\0" * 1024, tmp_path)
    assert archive.open("name").read() == b"data"
    archive.close()
