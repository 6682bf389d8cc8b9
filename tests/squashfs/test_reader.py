from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from sifmake.errors import SquashfsError
from sifmake.squashfs.reader import DIRECTORY, FILE, SYMLINK, Node, SquashfsReader

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.squashfs_tools


def tree(root: Path) -> Path:
    """Make a tree with what readers stumble over."""
    (root / "deep/er").mkdir(parents=True)
    (root / "many").mkdir()
    for number in range(600):
        (root / "many" / f"{number:04}-{'x' * 60}").write_bytes(b"%d" % number)
    (root / "deep/er/big").write_bytes(os.urandom(400_000))
    (root / "deep/zero").write_bytes(bytes(300_000) + b"end")
    (root / "deep/sparse").write_bytes(bytes(1 << 20))
    (root / "empty").touch()
    (root / "exact").write_bytes(b"e" * 131072)
    (root / os.fsdecode(b"caf\xe9")).write_bytes(b"latin")
    (root / "link").symlink_to("deep/er/big")
    os.link(root / "exact", root / "hard")
    os.mkfifo(root / "fifo")
    (root / "deep").chmod(0o1750)
    return root


def image(root: Path, target: Path, *options: str) -> bytes:
    command = ["mksquashfs", str(root), str(target), "-quiet", "-no-progress", "-noappend", *options]
    subprocess.run(command, check=True, capture_output=True)
    return target.read_bytes()


def reader(data: bytes) -> SquashfsReader:
    return SquashfsReader(lambda size, at: data[at : at + size])


@pytest.mark.parametrize("options", [(), ("-comp", "zstd"), ("-no-fragments",), ("-b", "4096"), ("-noI", "-noD")])
def test_reads_what_mksquashfs_wrote(tmp_path: Path, options: tuple[str, ...]) -> None:
    root = tree(tmp_path / "tree")
    opened = reader(image(root, tmp_path / "image", *options))
    nodes = {node.path: node for node in opened.walk()}
    paths = {b""} | {os.fsencode(path.relative_to(root)) for path in root.rglob("*")}
    assert nodes.keys() == paths
    for name, node in nodes.items():
        path = root / os.fsdecode(name)
        facts = path.lstat()
        assert (node.mode, node.uid, node.gid, node.mtime) == (
            facts.st_mode & 0o7777,
            facts.st_uid,
            facts.st_gid,
            int(facts.st_mtime),
        )
        if node.kind == SYMLINK:
            assert node.target == os.fsencode(path.readlink())
        if node.kind == FILE:
            content = b"".join(opened.chunks(node))
            assert hashlib.sha256(content).digest() == hashlib.sha256(path.read_bytes()).digest()
    assert nodes[b"hard"].number == nodes[b"exact"].number
    assert nodes[b"deep"].kind == DIRECTORY
    assert nodes[b"fifo"].kind == 6


def test_other_codecs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    data = image(tmp_path / "tree", tmp_path / "image", "-comp", "xz")
    with pytest.raises(SquashfsError, match="with neither gzip nor zstd"):
        reader(data)


def test_damage_gives_an_error_and_no_loop(tmp_path: Path) -> None:
    data = image(tree(tmp_path / "tree"), tmp_path / "image")
    for at in range(40, len(data), max(len(data) // 300, 1)):
        broken = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        for candidate in (broken, data[:at]):
            try:
                opened = reader(candidate)
                nodes: list[Node] = list(opened.walk())
            except SquashfsError:
                continue
            assert len(nodes) < 100_000


@pytest.mark.parametrize("options", [(), ("-comp", "zstd"), ("-noX",)])
def test_reads_attributes_and_devices(tmp_path: Path, options: tuple[str, ...]) -> None:
    root = tmp_path / "tree"
    (root / "folder").mkdir(parents=True)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    shared = b"s" * 500
    expected = {
        b"": {},
        b"folder": {b"user.note": b"on a folder", b"user.shared": shared},
        b"plain": {},
        b"ping": {b"security.capability": capability, b"user.shared": shared},
        **{b"%d" % number: {b"user.%d" % number: os.urandom(200)} for number in range(60)},
    }
    for name, attributes in expected.items():
        path = root / os.fsdecode(name)
        if not path.exists():
            path.write_bytes(name)
        for key, value in attributes.items():
            try:
                os.setxattr(path, key, value)
            except OSError as error:
                pytest.skip(f"no such extended attributes here: {error}")
    if os.geteuid() == 0:
        os.mknod(root / "null", 0o20666, os.makedev(1, 3))
        os.mknod(root / "disk", 0o60660, os.makedev(259, 300))
    opened = reader(image(root, tmp_path / "image", *options))
    nodes = {node.path: node for node in opened.walk()}
    assert {name: opened.read_xattrs(nodes[name]) for name in expected} == expected
    if os.geteuid() == 0:
        # linux/kdev_t.h, new_encode_dev
        assert (nodes[b"null"].kind, nodes[b"null"].device) == (5, 0x103)
        assert (nodes[b"disk"].kind, nodes[b"disk"].device) == (4, (300 & 0xFF) | (259 << 8) | ((300 & ~0xFF) << 12))


@pytest.mark.parametrize("field", range(8))
@pytest.mark.parametrize("value", [1 << 63, (1 << 64) - 2, 1 << 40])
def test_places_that_no_system_takes_are_an_error(tmp_path: Path, field: int, value: int) -> None:
    """The eight 64-bit fields that end the superblock: root, size, and the places of the tables."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / "file").write_bytes(b"x" * 100)
    data = bytearray(image(root, tmp_path / "image"))
    data[32 + 8 * field : 40 + 8 * field] = value.to_bytes(8, "little")
    (tmp_path / "image").write_bytes(data)
    with (tmp_path / "image").open("rb") as file:
        try:
            opened = SquashfsReader(lambda size, at: os.pread(file.fileno(), size, at))
            nodes = list(opened.walk())
            read = [(b"".join(opened.chunks(node)), opened.read_xattrs(node)) for node in nodes if node.kind == FILE]
        except SquashfsError:
            return
    assert read == [(b"x" * 100, {})], "a field that reading does not need"


def test_damaged_attributes_give_an_error(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(40):
        path = root / str(number)
        path.touch()
        try:
            os.setxattr(path, "user.name", os.urandom(100))
        except OSError as error:
            pytest.skip(f"no such extended attributes here: {error}")
    data = image(root, tmp_path / "image", "-noX", "-noI")
    for at in range(0, len(data), 7):
        with contextlib.suppress(SquashfsError):
            opened = reader(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
            for node in opened.walk():
                opened.read_xattrs(node)
