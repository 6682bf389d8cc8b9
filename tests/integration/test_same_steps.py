"""One definition on machines that differ in user, time zone, umask, store and version of Python: the same bytes."""

from __future__ import annotations

import hashlib
import shutil

import pytest

from support.rootless import BASE, NEEDS_ROOTLESS, run_as
from support.runtime import open_folder

pytestmark = NEEDS_ROOTLESS

DEFINITION = """Bootstrap: oci
From: base

%files
    data /opt/data

%post
    mkdir -p /opt/tool/bin && cd /opt/tool
    echo $(umask) > made; date > /dev/null
    touch -d '2001-02-03 04:05:06' old
    ln made linked; ln -s ../made bin/symlink; chmod 2755 bin
    chown -R 33:34 /opt/tool/bin; chown 5:6 old
    A=$(id -u)
# sifmake: step
    echo "$A $PWD" > second; rm /opt/data/gone; chmod 4755 /bin/busybox
"""
BUILD = f"""
import json, sys
from pathlib import Path
from sifmake.builder.build_request import BuildRequest
from sifmake.builder.definition_build import build_definition
from sifmake.definition import load_definition
from sifmake.progress import Silent
from sifmake.project.steps_lock import StepsLockUse
Path("tool.def").write_text({DEFINITION!r})
Path("data").mkdir(); Path("data/kept").write_text("kept"); Path("data/gone").write_text("gone")
for path in (Path("data"), *Path("data").iterdir()):  # modes of copied files are an input
    path.chmod(0o755)
Path("base").symlink_to(sys.argv[1])
lock = StepsLockUse(Path("tool.steps.yaml"), locked=Path("tool.steps.yaml").exists())
build_definition(BuildRequest(load_definition(Path("tool.def")), Path("tool.sif"), steps_lock=lock), Silent())
"""
LAYERS = [
    "sha256:f1308f1b7d30c8cc4bf8623e93913ed8e7a72274832179a575fdca24276cfcca",
    "sha256:58189de42d65d99dd248cb83b8ac96f1bd4f56a7df9496ec21a4e4dcd7c91a00",
]


@pytest.fixture(scope="module")
def place():
    with open_folder() as root:
        shutil.copytree(BASE, root / "base", copy_function=shutil.copyfile)
        yield root


@pytest.fixture(scope="module")
def first(place):
    return built(place, "root", 0o022, TZ="UTC")


def built(place, mode, umask, **environ):
    """Build as a user; return digests of the SIF file, and the lock of the steps."""
    folder = place / f"{mode}-{environ['TZ'].replace('/', '-')}"
    environ |= {"SIFMAKE_CACHE": str(folder / f"store-of-{mode}"), "SIFMAKE_TMPDIR": str(folder)}
    run_as(mode, folder, "-c", BUILD, str(place / "base"), umask=umask, **environ)
    return hashlib.sha256((folder / "tool.sif").read_bytes()).hexdigest(), (folder / "tool.steps.yaml").read_text()


def test_the_layers_are_those_of_every_version_of_python(first):
    assert [line.split()[-1] for line in first[1].splitlines() if " layer: " in line] == LAYERS


@pytest.mark.parametrize(
    ("mode", "umask", "zone"),
    [
        ("subuid", 0o077, "Pacific/Kiritimati"),
        ("single", 0o002, "America/St_Johns"),
    ],
)
def test_another_machine_makes_the_same_file(place, first, mode, umask, zone):
    sif, lock = built(place, mode, umask, TZ=zone)
    assert lock.replace(f"mode: {mode}", "mode: root").splitlines()[:-1] == first[1].splitlines()[:-1]
    assert sif == first[0]
