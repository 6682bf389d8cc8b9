"""Temporaries are removed when nobody holds their lock, and are old where locks may not be seen."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import time
from pathlib import Path

import pytest

from sifmake import temporaries
from sifmake.files import atomic_write, write_atomic
from sifmake.temporaries import (
    DAY,
    MARK,
    NO_NAMELESS,
    create,
    folder_beside,
    open_nameless,
    sweep_folder,
    temporary_name,
)

FOREIGN = ".tmp-a.sif-node7.0123456789abcdef-0123456789ab"


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".tmp-"))


def killed_folder(folder, name=None):
    """Leave a temporary folder, as a killed run does."""
    path = folder / (name or temporary_name("a.sif"))
    path.mkdir(mode=0o700)
    for inner in (MARK, "a.sif", ".tmp-a.sif-inner"):
        (path / inner).write_bytes(b"x")
    return path


def test_names_have_host_and_boot_and_fit_into_a_folder(tmp_path):
    name = temporary_name("a.sif")
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().replace("-", "")[:16]
    assert f"-{os.uname().nodename[:32]}.{boot}-" in name or not os.uname().nodename.isalnum()
    write_atomic(tmp_path / ("\N{PILE OF POO}" * 63), b"x")
    assert len(temporary_name("\N{PILE OF POO}" * 63).encode()) < 255


@pytest.mark.parametrize("write", [lambda path: write_atomic(path, b"x"), lambda path: folder_beside(path).__enter__()])
def test_what_killed_runs_left_beside_a_target_goes_with_the_next_run(tmp_path, write):
    (tmp_path / temporary_name("other.sif")).write_bytes(b"left")
    (tmp_path / temporary_name("empty")).mkdir(mode=0o700)
    killed_folder(tmp_path)
    before = set(left(tmp_path))
    held = write(tmp_path / "a.sif")
    assert not before & set(left(tmp_path))
    del held


def test_what_somebody_works_on_stays_whatever_the_clock_says(tmp_path):
    with atomic_write(tmp_path / "a.sif"), folder_beside(tmp_path / "b.sif") as folder:
        (folder / "b.sif").write_bytes(b"x")
        working = left(tmp_path)
        for path in (*tmp_path.iterdir(), *folder.iterdir()):
            os.utime(path, (1, 1))
        sweep_folder(tmp_path, now=time.time() + 100 * DAY)
        write_atomic(tmp_path / "c.sif", b"x")
        assert left(tmp_path) == working
        assert (folder / "b.sif").exists()
    assert left(tmp_path) == []


def test_a_file_is_locked_until_it_has_its_name(tmp_path, monkeypatch):
    def replace(old, new, **_options):
        sweep_folder(tmp_path)
        rename(old, new)

    rename = os.rename
    monkeypatch.setattr(os, "replace", replace)
    write_atomic(tmp_path / "a.sif", b"x")
    assert (tmp_path / "a.sif").read_bytes() == b"x"


@pytest.mark.parametrize(("age", "stays"), [(0, True), (DAY - 60, True), (DAY + 60, False)])
def test_what_another_host_made_is_left_for_a_day(tmp_path, age, stays):
    (tmp_path / FOREIGN).write_bytes(b"x")
    killed_folder(tmp_path, FOREIGN.replace("a.sif", "b.sif"))
    now = time.time() + age
    sweep_folder(tmp_path)
    sweep_folder(tmp_path, now=now)
    assert len(left(tmp_path)) == (2 if stays else 0)


@pytest.mark.parametrize("locks", ["none", "for all"])
@pytest.mark.parametrize(("age", "stays"), [(0, True), (DAY + 60, False)])
def test_where_locks_mean_nothing_age_decides(tmp_path, monkeypatch, locks, age, stays):
    def flock(_fd, _how):
        if locks == "none":
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / temporary_name("a.sif")).write_bytes(b"x")
    killed_folder(tmp_path)
    sweep_folder(tmp_path, now=time.time() + age)
    assert len(left(tmp_path)) == (2 if stays else 0)


def test_what_only_looks_like_a_temporary_stays(tmp_path):
    (tmp_path / temporary_name("mine")).mkdir(mode=0o700)
    (tmp_path / left(tmp_path)[0] / "photos").write_bytes(b"x")
    (tmp_path / temporary_name("open")).mkdir()
    killed_folder(tmp_path).chmod(0o755)
    (tmp_path / temporary_name("link")).symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / temporary_name("fifo"))
    (tmp_path / ".tmp-notes").write_bytes(b"x")
    before = left(tmp_path)
    sweep_folder(tmp_path, now=time.time())
    assert left(tmp_path) == before


def test_what_is_taken_for_left_over_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    def try_lock(fd):
        monkeypatch.setattr(temporaries, "try_lock", real)
        sweep_folder(tmp_path)
        return real(fd)

    real = temporaries.try_lock
    monkeypatch.setattr(temporaries, "try_lock", try_lock)
    tried = []
    os.close(create(tmp_path / "a.sif", 0o600, None, tried))
    assert len(tried) == 2
    assert left(tmp_path) == [os.path.basename(tried[-1])]
    monkeypatch.setattr(temporaries, "try_lock", try_lock)
    with folder_beside(tmp_path / "b.sif") as folder:
        assert (folder / MARK).exists()
        assert left(tmp_path) == [folder.name]
    assert left(tmp_path) == []


def test_nameless_file_is_written_and_read_and_leaves_nothing(tmp_path):
    with open_nameless(tmp_path) as file:
        file.write(b"spooled")
        file.seek(0)
        assert file.read() == b"spooled"
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", sorted(NO_NAMELESS))
def test_nameless_file_is_made_where_the_file_system_has_none(tmp_path, monkeypatch, code):
    refused, real = [], os.open

    def refusing(path, flags, *args, **options):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            refused.append(path)
            raise OSError(code, os.strerror(code), path)
        return real(path, flags, *args, **options)

    monkeypatch.setattr(tempfile, "_O_TMPFILE_WORKS", True, raising=False)
    monkeypatch.setattr(os, "open", refusing)
    with open_nameless(tmp_path) as file:
        file.write(b"spooled")
        file.seek(0)
        assert file.read() == b"spooled"
    assert refused
    assert not list(tmp_path.iterdir())


def test_nameless_file_in_a_full_folder_is_an_error(tmp_path, monkeypatch):
    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="No space left"):
        open_nameless(tmp_path)


def test_f14_a_folder_that_takes_no_file_is_named_and_no_invented_name():
    with pytest.raises(OSError, match=r"'/proc'$") as caught:
        temporaries.open_nameless(Path("/proc"))
    assert caught.value.filename == "/proc"
