"""Room is checked before the first byte: what does not fit is refused with figures, roles, and what helps."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from sifmake import quota, room
from sifmake.builder.pull import PullRequest, pull
from sifmake.builder.run_cache import ImageToRun, find_or_build
from sifmake.cli.main import main
from sifmake.errors import NoRoomError, SifmakeError, describe_os_error
from sifmake.places import output_place
from sifmake.project.configuration import Configuration
from sifmake.project.project import Project
from sifmake.stages.runner import open_runner
from support.counting_registry import CountingRegistry
from support.faults import MIB
from support.images import Blobs
from support.layers import file, tar
from support.messages import Messages
from support.registry import Answer, FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 4 * MIB
IMAGES = "images: {a: {from: 'docker://%s/a:1'}}\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture(scope="module")
def images() -> Iterator[CountingRegistry]:
    """Images of 4 MiB that nothing compresses: one layer, two, one whose file is deleted again."""
    noise = random.Random(1).randbytes(SIZE)
    whole = tar(file("data", noise))
    halves = [tar(file("a", noise[: SIZE // 2])), tar(file("b", noise[SIZE // 2 :]))]
    blobs = Blobs()
    with CountingRegistry(blobs) as registry:
        registry.tags["a:1"] = blobs.image([whole])
        registry.tags["a:2"] = blobs.image(halves)
        registry.tags["a:deleted"] = blobs.image([halves[0], tar(file(".wh.a")), halves[1]])
        registry.tags["a:plain"] = blobs.image([tar(file("zeros", bytes(SIZE)))], compression="none")
        yield registry


@contextmanager
def tmpfs(folder: Path, size: int) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"mount is not possible here: {result.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fetch(images: CountingRegistry, tag: str, target: Path, store: Path, told: Messages | None = None) -> Path:
    images.forget()
    uri = f"docker://{images.host}/a:{tag}"
    pull(PullRequest(uri, target, plain_http=True), told or Messages(), Configuration(store=store))
    return target


def blobs_of_layers(images: CountingRegistry) -> int:
    """Return how many layers were asked for; the config is a blob, too."""
    return max(0, images.counts().get("GET blob", 0) - 1)


@needs_root
@pytest.mark.kernel
@pytest.mark.parametrize(
    ("size", "store", "target", "words"),
    [
        (2 * MIB, "disk/store", "a.sif", "the store {0}/disk/store needs at least {2} bytes; "),
        (2 * MIB, "store", "disk/a.sif", "the image file {0}/disk/a.sif needs at least {2} bytes; "),
        (5 * MIB, "disk/store", "disk/a.sif", "{1} bytes in all on one file system; "),
    ],
)
def test_what_does_not_fit_is_refused_before_a_layer_is_asked_for(tmp_path, images, size, store, target, words):
    with tmpfs(tmp_path / "disk", size) as disk:
        with pytest.raises(NoRoomError) as caught:
            fetch(images, "1", tmp_path / target, tmp_path / store)
        assert blobs_of_layers(images) == 0
        need = int(0.75 * images.blobs.document(images.tags["a:1"])["layers"][0]["size"])
        text = str(caught.value)
        assert text.startswith("No space left on device: ")
        assert words.format(tmp_path, 2 * need, need) in text
        free = re.search(r"; (\d+) are free there; ", text)
        assert free
        assert size - 65536 <= int(free[1]) <= size
        assert ("SIFMAKE_CACHE" in text, "cache gc" in text) == ((store != "store",) * 2)
        assert ("name an image file on another file system" in text) == (target != "a.sif")
        assert not [*disk.rglob("packs"), *disk.rglob("a.sif")]


@needs_root
@pytest.mark.kernel
def test_what_the_store_has_needs_no_room_there(tmp_path, images):
    with tmpfs(tmp_path / "disk", 6 * MIB) as disk:
        fetch(images, "1", tmp_path / "a.sif", disk / "store")
        fetch(images, "1", tmp_path / "b.sif", disk / "store")
        assert blobs_of_layers(images) == 0
        with pytest.raises(NoRoomError):
            fetch(images, "2", tmp_path / "c.sif", disk / "store")


@needs_root
@pytest.mark.kernel
@pytest.mark.parametrize("tag", ["deleted", "plain"])
def test_what_fits_in_the_end_is_not_refused(tmp_path, images, tag):
    """Half of what the layers hold is deleted again, or nothing tells how small they get."""
    told = Messages()
    with tmpfs(tmp_path / "disk", SIZE * 5 // 8) as disk:
        assert fetch(images, tag, disk / "a.sif", tmp_path / "store", told).is_file()
    expected = [text for text in told.warnings if text.startswith("there may not be enough room: No space left")]
    assert len(expected) == (tag == "deleted")


@needs_root
@pytest.mark.kernel
def test_the_file_is_measured_when_its_packs_are_there(tmp_path, images):
    """Two layers may come to half of their size; these do not, and the file is refused before its first byte."""
    with tmpfs(tmp_path / "disk", SIZE * 3 // 4) as disk:
        with pytest.raises(OSError, match=r"No space left on device: \d+ bytes are needed, \d+ are free") as caught:
            fetch(images, "2", disk / "a.sif", tmp_path / "store")
        assert describe_os_error(caught.value).startswith(f"{disk}/a.sif: No space")
        assert list(disk.iterdir()) == []


@needs_root
@pytest.mark.kernel
def test_a_run_needs_room_in_the_store_for_layers_and_file(tmp_path, images, monkeypatch):
    images.forget()
    with tmpfs(tmp_path / "disk", 5 * MIB) as disk:
        monkeypatch.setenv("SIFMAKE_CACHE", str(disk / "store"))
        with pytest.raises(NoRoomError, match=f"the store {disk}/store needs at least"):
            find_or_build(ImageToRun(f"docker://{images.host}/a:1", plain_http=True), Messages())
    assert blobs_of_layers(images) == 0


def project_of(images: CountingRegistry, folder: Path, store: Path) -> Project:
    folder.mkdir(exist_ok=True)
    (folder / "config").mkdir()
    (folder / "config" / "images.yaml").write_text(IMAGES % images.host)
    registries = f"registries: {{'{images.host}': {{plain-http: true}}}}\n"
    (folder / "sifmake.yaml").write_text(f"store: {{path: '{store}'}}\n{registries}")
    return Project(folder)


@needs_root
@pytest.mark.kernel
def test_the_first_stage_looks_at_store_and_results(tmp_path, images):
    from sifmake.stages.lock_refresh import LockRefresher

    with tmpfs(tmp_path / "disk", 5 * MIB) as disk:
        project = project_of(images, disk / "project", disk / "store")
        assert LockRefresher(project).refresh("a").error is None
        images.forget()
        with open_runner(project) as runner, pytest.raises(NoRoomError) as caught:
            runner.run("pull", "a")
        assert f"the folder for results {disk}/project/results/a/unsigned.sif needs" in str(caught.value)
        assert images.counts().get("GET blob", 0) == 0


@needs_root
@pytest.mark.kernel
@pytest.mark.parametrize("scheme", ["oras", "http"])
def test_a_finished_file_is_refused_by_its_size(tmp_path, scheme):
    data = b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0".ljust(2 * MIB, b"x")
    with FakeRegistry() as registry, tmpfs(tmp_path / "disk", MIB) as disk:
        layer = registry.blobs.put(data, "application/vnd.sylabs.sif.layer.v1.sif")
        registry.tag("a", "1", registry.blobs.image([], layer_descriptors=[layer]))
        registry.on("GET", "/file.sif", Answer(body=data))
        uri = f"oras://{registry.host}/a:1" if scheme == "oras" else f"http://{registry.host}/file.sif"
        with pytest.raises(NoRoomError, match=f"the image file {disk}/a.sif needs at least {2 * MIB} bytes"):
            pull(PullRequest(uri, disk / "a.sif", plain_http=True), Messages(), Configuration(store=tmp_path / "store"))
        assert registry.count("GET", layer["digest"]) == 0
        assert list(disk.iterdir()) == []


@needs_root
@pytest.mark.kernel
def test_an_archive_that_does_not_fit_is_not_begun(tmp_path, images, monkeypatch, capsys):
    fetch(images, "2", tmp_path / "a.sif", tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    assert main(["cache", "export", "all.tar"]) == 0
    with tmpfs(tmp_path / "disk", 3 * MIB) as disk:
        monkeypatch.setenv("SIFMAKE_CACHE", str(disk / "store"))
        assert main(["cache", "import", "all.tar"]) == 1
        assert f"No space left on device: the store {disk}/store needs at least" in capsys.readouterr().err
        assert not (disk / "store").exists()


def answer_of(hard: int = 0, soft: int = 0, used: int = 0, grace: int = 0) -> bytes:
    return struct.pack("=8QI4x", hard, soft, used, 0, 0, 0, grace, 0, 63)


@pytest.mark.parametrize(
    ("user", "group", "left"),
    [
        (answer_of(), None, None),
        (answer_of(hard=100, used=40 * 1024), None, 60 * 1024),
        (answer_of(hard=100, soft=50, used=60 * 1024), None, 40 * 1024),
        (answer_of(hard=100, soft=50, used=60 * 1024, grace=5), None, 0),
        (answer_of(hard=100, soft=50, used=10 * 1024, grace=2**40), answer_of(hard=30), 30 * 1024),
        (None, answer_of(hard=10, used=20 * 1024), 0),
    ],
)
def test_quotas_of_user_and_group_count(tmp_path, monkeypatch, user, group, left):
    monkeypatch.setattr(quota, "_are_in_use", lambda: True)
    monkeypatch.setattr(quota, "_ask", lambda _fd, _device, kind, _owner: (user, group)[kind])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert quota.quota_left(fd) == left
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("counted", "options", "used"),
    [("0", "rw,noquota", False), ("0", "rw,usrquota", True), ("12", "rw", True), ("", "rw", False)],
)
def test_only_machines_with_quotas_pay_for_them(tmp_path, monkeypatch, counted, options, used):
    for name, text in (("_COUNTED", counted), ("_MOUNTS", f"1 2 8:1 / / rw - xfs /dev/sda1 {options}")):
        (tmp_path / name).write_text(f"{text}\n")
        monkeypatch.setattr(quota, name, tmp_path / name)
    assert quota._are_in_use() is used


def test_a_quota_is_said_to_be_one(tmp_path, monkeypatch, images):
    monkeypatch.setattr(room, "quota_left", lambda _fd: MIB)
    with pytest.raises(NoRoomError) as caught:
        fetch(images, "1", tmp_path / "a.sif", tmp_path / "store")
    text = str(caught.value)
    assert text.startswith("Disk quota exceeded: the store ")
    assert f" and the image file {tmp_path}/a.sif needs" in text
    assert f"; {MIB} are left of your quota there; " in text
    assert blobs_of_layers(images) == 0


def test_the_kernel_is_asked_in_a_form_that_it_knows(tmp_path):
    """Where there is no quota, it says so, and nothing else."""
    fd = os.open(tmp_path, os.O_PATH)
    try:
        answer = quota._ask(fd, os.fstat(fd).st_dev, 0, 0)
    finally:
        os.close(fd)
    assert answer is None or len(answer) == 72


@needs_root
@pytest.mark.parametrize("system", ["ext4", "xfs"])
def test_a_real_quota_is_seen(tmp_path, system):
    """A user with 1 MiB left on a file system with quotas; the kernel has to have them."""
    image, disk = tmp_path / "image", tmp_path / "disk"
    disk.mkdir()
    make = ["mkfs.ext4", "-q", "-F", "-O", "quota"] if system == "ext4" else ["mkfs.xfs", "-q", "-f"]
    options = "loop,usrquota" if system == "ext4" else "loop,uquota"
    set_quota = ["setquota", "-u", "1234", "0", "1024", "0", "0", str(disk)]
    try:
        for command in (
            ["truncate", "-s", "320M", image],
            [*make, image],
            ["mount", "-o", options, image, disk],
            set_quota,
        ):
            try:
                result = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                pytest.skip(f"there is no {command[0]}")
            if result.returncode:
                pytest.skip(f"quotas are not possible here: {result.stderr.strip()[:200]}")
        fd = os.open(disk, os.O_PATH)
        try:
            answer = quota._ask(fd, os.fstat(fd).st_dev, 0, 1234)
        finally:
            os.close(fd)
        assert answer is not None
        assert quota._left(answer) == MIB
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False, capture_output=True)


def test_where_nobody_can_tell_there_is_room(tmp_path, monkeypatch):
    real = os.fstatvfs
    for changed in ({2: 0}, {8: os.ST_RDONLY}):
        values = [0 if number == 4 else value for number, value in enumerate(real(os.open(tmp_path, os.O_RDONLY)))]
        for number, value in changed.items():
            values[number] = value
        monkeypatch.setattr(os, "fstatvfs", lambda _fd, values=values: os.statvfs_result(values))
        room.check_room([room.Need(output_place(tmp_path / "a" / "b.sif"), 1 << 60)])


def test_a_shortage_is_an_error_of_the_command_line():
    assert issubclass(NoRoomError, SifmakeError)
