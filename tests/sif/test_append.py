"""Adding objects: what changes, what stays, and that an error changes nothing."""

import errno
import fcntl
import os
import stat

import pytest

from sifmake.errors import SifError
from sifmake.sif import DataType, NewObject, open_sif, problems
from sifmake.sif import append as appending
from sifmake.sif.append import Addition, append_objects, open_for_append
from sifmake.sif.format import ZERO_TIME
from support.signing import write_sif


def addition(data=b"added", **options):
    return Addition(NewObject(DataType.GENERIC, len(data), **options), data)


def add(source, target, *additions):
    with open_for_append(source, target) as sif:
        return append_objects(sif, additions or [addition()])


def test_added_objects_stand_behind_the_others_and_the_header_follows(tmp_path):
    path = write_sif(tmp_path / "a.sif")
    before = path.read_bytes()
    add(path, path, addition(b"one"), addition(b"two", alignment=4096))
    with open_sif(path) as sif:
        assert problems(sif) == []
        *_, one, two = sif.objects
        assert (one.id, one.offset, sif.read(one)) == (4, len(before), b"one")
        assert (two.id, two.offset % 4096, sif.read(two)) == (5, 0, b"two")
        assert two.padded_size == two.end - one.end
        assert sif.header.data_offset + sif.header.data_size == sif.size == two.end
        assert (sif.header.free, sif.header.modified, two.created) == (43, ZERO_TIME, ZERO_TIME)
    assert path.read_bytes()[32176 : len(before)] == before[32176:]


def test_a_file_with_an_identity_gets_the_present_time(tmp_path, monkeypatch):
    path = write_sif(tmp_path / "a.sif", uuid=bytes(range(16)), time=1_000_000_000)
    monkeypatch.setattr(appending.time, "time", lambda: 1_700_000_000.9)
    add(path, path)
    with open_sif(path) as sif:
        assert (sif.header.created, sif.header.modified) == (1_000_000_000, 1_700_000_000)
        assert [item.created for item in sif.objects] == [1_000_000_000] * 3 + [1_700_000_000]


def test_a_free_slot_in_the_middle_is_used_first(tmp_path):
    path = write_sif(tmp_path / "a.sif", groups={1: 2})
    data = bytearray(path.read_bytes())
    data[4096 + 585 : 4096 + 2 * 585] = bytes(585)
    data[80] += 1
    path.write_bytes(data)
    (added,) = add(path, path)
    assert (added.slot, added.id) == (1, 2)


def test_a_copy_leaves_the_source_and_keeps_permissions(tmp_path):
    source, target = write_sif(tmp_path / "a.sif"), tmp_path / "folder" / "b.sif"
    source.chmod(0o754)
    before = source.read_bytes()
    add(source, target)
    assert source.read_bytes() == before
    assert stat.S_IMODE(target.stat().st_mode) == 0o754
    assert target.read_bytes()[32176 : len(before)] == before[32176:]
    assert [path.name for path in target.parent.iterdir()] == ["b.sif"]


def test_in_place_keeps_inode_permissions_and_other_names(tmp_path):
    path = write_sif(tmp_path / "a.sif")
    path.chmod(0o700)
    other = tmp_path / "same.sif"
    other.hardlink_to(path)
    inode = path.stat().st_ino
    add(path, other)
    assert (path.stat().st_ino, stat.S_IMODE(path.stat().st_mode)) == (inode, 0o700)
    with open_sif(path) as sif:
        assert len(sif.objects) == 4


def test_copying_without_help_of_the_kernel_gives_the_same(tmp_path, monkeypatch):
    source = write_sif(tmp_path / "a.sif")
    add(source, tmp_path / "b.sif")

    def refuse(*_):
        raise OSError(errno.EXDEV, "no")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    add(source, tmp_path / "c.sif")
    assert (tmp_path / "b.sif").read_bytes() == (tmp_path / "c.sif").read_bytes()


@pytest.mark.parametrize("failing", range(1, 5))
def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch, failing):
    path = write_sif(tmp_path / "a.sif")
    before = path.read_bytes()
    real, calls = os.pwrite, []

    def pwrite(fd, data, offset):
        calls.append(offset)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(OSError, match="No space left"):
        add(path, path, addition(b"one"), addition(b"two"))
    assert path.read_bytes() == before


def test_a_copy_that_fails_leaves_nothing(tmp_path, monkeypatch):
    source, target = write_sif(tmp_path / "a.sif"), tmp_path / "b.sif"
    target.write_bytes(b"old")

    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OSError, match="Input/output"):
        add(source, target)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sif", "b.sif"]


def test_a_second_process_is_kept_away(tmp_path):
    path = write_sif(tmp_path / "a.sif")
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SifError, match="another process is adding"):
            add(path, path)


def test_trailing_bytes_are_not_built_upon(tmp_path):
    path = write_sif(tmp_path / "a.sif")
    with path.open("ab") as file:
        file.write(b"garbage")
    before = path.read_bytes()
    with pytest.raises(SifError, match="7 bytes after the last object belong to no object"):
        add(path, path)
    assert path.read_bytes() == before


def test_a_full_table_is_said(tmp_path):
    path = write_sif(tmp_path / "a.sif", groups={1: 37})
    with pytest.raises(SifError, match="all 48 descriptors of the table are in use"):
        add(path, path, *[addition()] * 10)
