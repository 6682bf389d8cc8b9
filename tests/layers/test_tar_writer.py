"""Tar streams that are written here: what comes back is what went in, in sifmake's reader and in Python's."""

import io
import tarfile

import pytest

from sifmake.errors import LayerError
from sifmake.layers.entry import BLOCK, CHAR, DIR, FIFO, FILE, HARDLINK, OPAQUE, SYMLINK, WHITEOUT, Entry
from sifmake.layers.tar import TarReader
from sifmake.layers.tar_writer import tar_stream
from sifmake.limits import DEFAULT_LIMITS

LONG = b"/".join([b"folder-with-a-name"] * 8) + b"/file"
ENTRIES = [
    (Entry(b"", DIR, 0o755, 0, 0, 5), b""),
    (Entry(b"a", FILE, 0o4755, 3, 4, 1_700_000_000, size=3), b"abc"),
    (Entry(b"a2", HARDLINK, 0, 0, 0, 0, target=b"a"), b""),
    (Entry(LONG, FILE, 0o640, 1 << 31, 9, -5, size=513, xattrs=((b"user.x", b"\0\n=v"),)), b"x" * 513),
    (Entry(b"link", SYMLINK, 0o777, 0, 0, 1, target=b"t" * 200), b""),
    (Entry(b"zz", CHAR, 0o600, 0, 5, 1, major=1, minor=3), b""),
    (Entry(b"yy", BLOCK, 0o600, 0, 5, 1, major=8, minor=300), b""),
    (Entry(b"pipe", FIFO, 0o644, 0, 0, 1), b""),
    (Entry(b"odd \xff\n name", FILE, 0o600, 0, 0, 0), b""),
]


def stream(entries=ENTRIES):
    return b"".join(tar_stream((entry, [data[:100], data[100:]]) for entry, data in entries))


def test_everything_comes_back():
    reader = TarReader(iter([stream()]), DEFAULT_LIMITS)
    found = []
    for member in reader:
        data = bytes(reader.take_all()) if member.type == b"0" and member.size else b""
        path, target = member.name.strip(b"/").removeprefix(b"."), member.linkname
        number = (member.devmajor, member.devminor) if member.type in (b"3", b"4") else (0, 0)
        found.append((path, member.mode, member.uid, member.gid, member.mtime, target, number, member.xattrs, data))
    assert found == [
        (e.path, e.mode, e.uid, e.gid, e.mtime, e.target, (e.major, e.minor), e.xattrs, data) for e, data in ENTRIES
    ]


def test_python_reads_it_too():
    with tarfile.open(fileobj=io.BytesIO(stream()), errors="surrogateescape") as archive:
        names = [member.name for member in archive]
        assert archive.extractfile(names[1]).read() == b"abc"
    assert names[3] == LONG.decode()


def test_the_same_entries_give_the_same_bytes():
    assert stream() == stream()
    assert len(stream()) % 512 == 0


@pytest.mark.parametrize("path", [b".wh.x", b"etc/.wh..wh..opq", b"a/.wh.b/c"])
def test_names_that_would_delete_something_are_refused(path):
    with pytest.raises(LayerError, match=r"\.wh\..*cannot hold a name that begins with \.wh\."):
        stream([(Entry(path, FILE, 0o644, 0, 0, 0), b"")])


def test_markers_are_those_of_the_image_specification():
    entries = [(Entry(b"d/gone", WHITEOUT, 0, 0, 0, 0), b""), (Entry(b"d", OPAQUE, 0, 0, 0, 0), b"")]
    with tarfile.open(fileobj=io.BytesIO(stream(entries))) as archive:
        assert archive.getnames() == ["d/.wh.gone", "d/.wh..wh..opq"]


@pytest.mark.parametrize("data", [b"ab", b"abcd"])
def test_a_file_that_changes_meanwhile_is_an_error(data):
    with pytest.raises(LayerError, match="changed while it was read"):
        stream([(Entry(b"a", FILE, 0o644, 0, 0, 0, size=3), data)])
