"""What is read ahead is what ldd says a program is loaded with, whole, and in the kernel's memory then."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from sifmake.runtime.container_paths import ContainerPaths
from sifmake.runtime.readahead import ANNOUNCED, STEP, announce, loader_of, open_file, open_libraries, read_ahead

PROGRAMS = ["/bin/sh", "/usr/bin/env", "/bin/busybox", "/usr/bin/openssl", "/usr/bin/ldd"]


def shown_by_ldd(path: Path) -> str:
    return subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_loader_and_the_c_library_are_those_that_ldd_shows(program):
    path = Path(program).resolve()
    if not path.exists():
        pytest.skip(f"{program} is not installed")
    shown = shown_by_ldd(path)
    loader = re.search(r"^\t(/\S*/ld-\S+) \(", shown, re.MULTILINE)
    library = re.search(r"=> (/\S*/libc\.so\.6) \(", shown)
    expected = [os.path.realpath(found[1]) for found in (loader, library) if found]
    view = ContainerPaths("/")
    (fd,) = open_file(view, str(path))
    libraries = open_libraries(view, fd)
    assert loader_of(fd) == (loader[1] if loader else "")
    assert [os.readlink(f"/proc/self/fd/{number}") for number in libraries] == expected
    read_ahead([fd, *libraries])
    assert all(not os.path.exists(f"/proc/self/fd/{number}") for number in (fd, *libraries))


@pytest.mark.parametrize("name", ["absent", "folder", "link/to/itself", "pipe"])
def test_what_is_not_a_file_is_not_opened(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("link")
    os.mkfifo(tmp_path / "pipe")
    assert open_file(ContainerPaths(str(tmp_path)), f"/{name}") == []


def test_what_cannot_be_read_is_left_to_the_program(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)  # reading a folder fails as reading a damaged block does
    assert open_libraries(ContainerPaths("/"), fd) == []
    announce([fd])
    read_ahead([fd])
    assert not os.path.exists(f"/proc/self/fd/{fd}")


def resident(path: Path) -> int:
    """Return how many bytes of a file the kernel keeps, as fincore tells."""
    return int(subprocess.run(["fincore", "-nbo", "RES", path], capture_output=True, check=True).stdout)


@pytest.fixture
def evicted(tmp_path):
    """A file of 2 MiB and some of which the kernel keeps nothing."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(2 * 1024 * 1024 + 300_000))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(path):
        pytest.skip("this file system keeps its files in memory")
    return path


def test_all_of_a_file_of_two_mebibytes_is_read(evicted):
    os.truncate(evicted, 2 * 1024 * 1024)
    read_ahead(open_file(ContainerPaths("/"), str(evicted)))
    assert resident(evicted) == 2 * 1024 * 1024


def test_announcing_lets_the_kernel_read_that_much_though_nobody_asks_for_it(evicted):
    (fd,) = open_file(ContainerPaths("/"), str(evicted))
    announce([fd])
    until = time.monotonic() + 60
    while resident(evicted) < ANNOUNCED * STEP and time.monotonic() < until:
        time.sleep(0.01)
    os.close(fd)
    assert resident(evicted) == ANNOUNCED * STEP


ELF = b"\x7fELF\x02\x01" + bytes(26)
ENDLESS = ELF + (64).to_bytes(8, "little") + bytes(16) + b"\xff\xff" + bytes(4000)
OUTSIDE = ELF + (64).to_bytes(8, "little") + bytes(16) + b"\1\0" + bytes(6) + b"\3" + bytes(7) + b"\xff" * 8 + bytes(40)


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\n", ELF, ELF + (2**63).to_bytes(8, "little") + bytes(16) + b"\xff\xff", ENDLESS, OUTSIDE]
)
def test_a_damaged_program_asks_for_no_loader(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with (tmp_path / "x").open("rb") as file:
        assert loader_of(file.fileno()) == ""
