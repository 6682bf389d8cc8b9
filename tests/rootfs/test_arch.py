"""ELF headers; numbers are those of elf.h, the names Go's (cmd/internal and debug/elf)."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from sifmake.flatten.tree import Tree
from sifmake.layers.entry import DIR, FILE, SYMLINK, Inode
from sifmake.rootfs.arch import ARCHITECTURES, elf_architecture, find_architecture

CASES = [
    ("386", 1, "<", 3),
    ("amd64", 2, "<", 62),
    ("arm", 1, "<", 40),
    ("arm64", 2, "<", 183),
    ("ppc64", 2, ">", 21),
    ("ppc64le", 2, "<", 21),
    ("mips", 1, ">", 8),
    ("mipsle", 1, "<", 8),
    ("mips64", 2, ">", 8),
    ("mips64le", 2, "<", 8),
    ("s390x", 2, ">", 22),
    ("riscv64", 2, "<", 243),
    ("loong64", 2, "<", 258),
]


def elf(bits=2, order="<", machine=62, kind=3):
    return (
        b"\x7fELF" + bytes([bits, 1 if order == "<" else 2, 1, 0]) + bytes(8) + struct.pack(order + "HH", kind, machine)
    )


@pytest.mark.parametrize(("name", "bits", "order", "machine"), CASES)
def test_every_architecture_of_sif(name, bits, order, machine):
    assert elf_architecture(elf(bits, order, machine)) == name
    assert elf_architecture(elf(bits, order, machine, kind=2)) == name


def test_the_table_is_complete():
    assert {name for name, *_ in CASES} == ARCHITECTURES


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"#!/bin/sh\n" * 3,
        elf()[:19],
        elf(machine=22, order="<"),
        elf(bits=1),
        elf(kind=1),
        elf(bits=0),
        b"\x7fELF" + b"\xff" * 20,
    ],
)
def test_everything_else_is_unknown(head):
    assert elf_architecture(head) is None


def test_this_machines_programs():
    machine = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if not machine:
        pytest.skip("dpkg is not installed")
    head = Path(sys.executable).resolve().read_bytes()[:64]
    assert elf_architecture(head) == {"i386": "386", "ppc64el": "ppc64le", "armhf": "arm"}.get(machine, machine)


def tree_of(files):
    """Build a tree from path -> (mode, bytes) or a symlink's target; return it with a reader."""
    tree, contents = Tree(), {}
    for path, what in files.items():
        *above, name = path.encode().split(b"/")
        here = tree.root
        for part in above:
            here = here.children.setdefault(part, Inode(part, DIR, 0o755, 0, 0, 0, children={}))
        if isinstance(what, str):
            here.children[name] = Inode(name, SYMLINK, 0o777, 0, 0, 0, target=what.encode())
        else:
            inode = here.children[name] = Inode(name, FILE, what[0], 0, 0, 0, size=len(what[1]))
            contents[id(inode)] = what[1]
    return tree, lambda inode, size: contents[id(inode)][:size]


AMD64, ARM64, SCRIPT = elf() + bytes(44), elf(machine=183) + bytes(44), b"#!/bin/sh\nexit 0\n" * 4


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"bin/sh": (0o755, ARM64), "a": (0o755, AMD64)}, "arm64"),
        (
            {"bin": "usr/bin", "usr/bin/sh": "/usr/bin/dash", "usr/bin/dash": (0o755, ARM64), "a": (0o755, AMD64)},
            "arm64",
        ),
        ({"bin/sh": "../../../../busybox", "busybox": (0o644, ARM64), "a": (0o755, AMD64)}, "arm64"),
        ({"bin/sh": (0o755, SCRIPT), "b": (0o755, ARM64), "c": (0o755, AMD64)}, "arm64"),
        ({"bin/sh": "sh", "b": (0o755, ARM64)}, "arm64"),
        ({"a": (0o644, AMD64), "b/c": (0o100, ARM64), "d": (0o755, AMD64)}, "arm64"),
        ({"a": (0o755, b""), "b": (0o755, b"\x7fELF"), "c": (0o644, AMD64)}, None),
        ({}, None),
    ],
)
def test_the_shell_decides_else_the_first_program(files, found):
    assert find_architecture(*tree_of(files)) == found
