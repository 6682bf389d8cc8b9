"""Programs that are there and cannot be started: the message names what is missing (row h44 of the reports)."""

from __future__ import annotations

import os
import struct

import pytest

from sifmake.runtime.container_paths import ContainerPaths
from sifmake.runtime.errors import RunError
from sifmake.runtime.startable import check_startable

MACHINES = {"x86_64": 62, "aarch64": 183, "ppc64le": 21, "s390x": 22, "riscv64": 243}
OWN = MACHINES.get(os.uname().machine, 0)
FOREIGN = 183 if os.uname().machine == "x86_64" else 62


def elf(loader: bytes = b"", machine: int = OWN, bits: int = 64, order: str = "<") -> bytes:
    """Return an ELF file with one program header, as the ELF specification has it."""
    ident = b"\x7fELF" + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    size, at, kind = (64, 56, 3 if loader else 1) if bits == 64 else (52, 32, 3 if loader else 1)
    word = "Q" if bits == 64 else "I"
    header = struct.pack(f"{order}HHI3{word}I6H", 2, machine, 1, 0, size, 0, 0, size, at, 1, 0, 0, 0)
    place = size + at
    if bits == 64:
        program = struct.pack(f"{order}II6Q", kind, 4, place, 0, 0, len(loader) + 1, 0, 1)
    else:
        program = struct.pack(f"{order}8I", kind, place, 0, 0, len(loader) + 1, 0, 4, 1)
    return ident + header + program + loader + b"\0"


@pytest.fixture
def image(tmp_path):
    files = {
        "bin/sh": elf(),
        "bin/plain": b"#!/bin/plain-data\n",
        "lib/ld.so": b"loader",
        "bin/static": elf(),
        "bin/dynamic": elf(b"/lib/ld.so"),
        "bin/linked": elf(b"/lib64/ld.so"),
        "bin/musl": elf(b"/lib/ld-musl.so.1"),
        "bin/musl32": elf(b"/lib/ld-musl-32.so.1", machine=3 if OWN == 62 else OWN, bits=32),
        "bin/foreign": elf(machine=FOREIGN),
        "bin/big": elf(machine=22, order=">"),
        "bin/cut": elf(b"/lib/ld.so")[:70],
        "bin/tiny": b"\x7fELF",
        "bin/empty": b"",
        "bin/script": b"#!/bin/sh -e\nexit 0\n",
        "bin/blank": b"#! \t/bin/sh\n",
        "bin/argument": b"#!/bin/sh -e\r\nexit 0\r\n",
        "bin/nothing": b"#!\n",
        "bin/gone": b"#!/usr/bin/nosuch -x\n",
        "bin/crlf": b"#!/bin/sh\r\nexit 0\r\n",
        "bin/relative": b"#!sh\n",
        "bin/over": b"#!/bin/gone\n",
        "bin/onto": b"#!/bin/musl\n",
        "bin/loop": b"#!/bin/loop\n",
        "bin/text": b"echo hello\n",
        "etc/passwd": b"root\n",
        "bin/data": b"#!/etc/passwd\n",
    }
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if name.startswith("bin/") else 0o644)
    (tmp_path / "lib64").symlink_to("/lib")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["static", "dynamic", "linked", "script", "blank", "argument", "nothing", "text", "cut", "tiny", "empty", "loop"],
)
def test_what_the_kernel_may_start_is_left_to_it(image, name):
    check_startable(f"/bin/{name}", ContainerPaths(str(image)), "/")


def test_relative_interpreters_start_from_the_current_folder(image):
    check_startable("/bin/relative", ContainerPaths(str(image)), "/bin")
    with pytest.raises(RunError, match="its interpreter sh is not in the image"):
        check_startable("/bin/relative", ContainerPaths(str(image)), "/etc")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "/bin/gone: its interpreter /usr/bin/nosuch is not in the image; correct"),
        ("crlf", "/bin/crlf: its first line ends with CR LF.*dos2unix"),
        ("over", "/bin/over: its interpreter /usr/bin/nosuch is not in the image"),
        ("data", "/bin/data: its interpreter /etc/passwd is not executable"),
        ("musl", "/bin/musl: its loader /lib/ld-musl.so.1 is not in the image; the program was built for another C"),
        ("onto", "/bin/onto: its loader /lib/ld-musl.so.1 is not in the image"),
        ("musl32", "/bin/musl32: its loader /lib/ld-musl-32.so.1 is not in the image"),
        ("foreign", "/bin/foreign: the program is for (aarch64|x86_64), this machine is"),
    ],
)
def test_what_is_missing_is_named(image, name, said):
    with pytest.raises(RunError, match=said) as caught:
        check_startable(f"/bin/{name}", ContainerPaths(str(image)), "/")
    assert caught.value.exit_code == 255


def test_a_file_of_no_kind_needs_a_shell(image):
    (image / "bin/sh").unlink()
    with pytest.raises(RunError, match="/bin/text: neither a program nor a script"):
        check_startable("/bin/text", ContainerPaths(str(image)), "/")


@pytest.mark.skipif(OWN == 22, reason="this machine is a s390x")
def test_big_endian_programs_are_read_too(image):
    with pytest.raises(RunError, match="the program is for s390x"):
        check_startable("/bin/big", ContainerPaths(str(image)), "/")
