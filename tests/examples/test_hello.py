"""The example image: the committed bytes come from the script, and the program does what it says."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello"
LAYOUT = EXAMPLE / "layout"
MNEMONICS = re.compile(r"^\s+[0-9a-f]+:\t(?:[0-9a-f]{2} )+\s*\t(\w+)", re.MULTILINE)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A folder with the program for each architecture, under its name."""
    folder = tmp_path_factory.mktemp("programs")
    code = (
        "import sys, pathlib as p, program as m\n[p.Path(sys.argv[1], a).write_bytes(m.build(a)) for a in m.LISTINGS]"
    )
    subprocess.run([sys.executable, "-c", code, folder], cwd=EXAMPLE, check=True)
    for path in folder.iterdir():
        path.chmod(0o755)
    return folder


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_script_makes_the_committed_layout(tmp_path):
    umask = os.umask(0o077)
    try:
        environ = {"LC_ALL": "C", "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "7"}
        subprocess.run([sys.executable, EXAMPLE / "make.py", tmp_path / "new"], env=environ, cwd="/", check=True)
    finally:
        os.umask(umask)
    assert files(tmp_path / "new") == files(LAYOUT)


def test_it_stays_small():
    assert sum(len(data) for data in files(LAYOUT).values()) < 40_000


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_skopeo_reads_every_platform(architecture):
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    command = ["skopeo", "--override-arch", architecture, "inspect", f"oci:{LAYOUT}:latest"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert (found["Architecture"], found["Os"], len(found["Layers"])) == (architecture, "linux", 3)


@pytest.mark.umoci
@pytest.mark.parametrize(
    ("arguments", "printed"),
    [((), b"Hello,!\n"), (("world",), b"Hello, world!\n"), (("you", "and me"), b"Hello, you and me!\n")],
)
def test_the_unpacked_image_greets(tmp_path, arguments, printed):
    if not (shutil.which("umoci") and shutil.which("skopeo") and os.geteuid() == 0 and platform.machine() == "x86_64"):
        pytest.skip("needs umoci, skopeo, root and an x86-64 machine")
    flat = f"{tmp_path}/flat:latest"
    subprocess.run(["skopeo", "copy", "-q", f"oci:{LAYOUT}:latest", f"oci:{flat}"], check=True)
    subprocess.run(["umoci", "unpack", "--image", flat, tmp_path / "bundle"], check=True, capture_output=True)
    root = tmp_path / "bundle" / "rootfs"
    assert not (root / "usr/share/hello/draft").exists()
    run = subprocess.run(["chroot", root, "/usr/bin/hello", *arguments], check=True, capture_output=True)
    assert run.stdout == printed


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86-64 machine")
def test_outside_its_image_it_has_no_greeting_but_its_arguments(program):
    run = subprocess.run([program / "amd64", "a", ""], check=True, capture_output=True)
    assert run.stdout == b" a !\n"


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs binutils")
def test_the_listing_says_what_the_code_is(program):
    """Mnemonics of the x86-64 listing equal those that objdump finds in the code."""
    listing = subprocess.run(
        [sys.executable, "-c", "import program; print(program.AMD64)"],
        cwd=EXAMPLE,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    said = re.findall(r"\| (\w+)", listing)
    command = ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", "--start-address=176"]
    shown = subprocess.run([*command, program / "amd64"], check=True, capture_output=True, text=True).stdout
    assert MNEMONICS.findall(shown)[: len(said)] == said
