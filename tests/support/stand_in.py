"""An image with a shell, and the programs that ``sifmake shim`` writes, for programs that look for Apptainer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.layers import file, folder, symlink, tar

if TYPE_CHECKING:
    from support.images import Blobs, Descriptor

TOOLS = ("bwrap", "squashfuse", "busybox")


def needs_containers(test):
    """Mark a test that runs programs in the image; it is skipped where the tools for it are missing."""
    missing = [name for name in TOOLS if not shutil.which(name)]
    return pytest.mark.skipif(bool(missing), reason=f"not on this machine: {', '.join(missing)}")(test)


def shell_image(blobs: Blobs) -> Descriptor:
    """Return an image of busybox."""
    busybox = file("bin/busybox", Path(shutil.which("busybox") or "").read_bytes(), mode=0o755)
    names = ("sh", "cat", "echo", "ls", "true", "touch", "env", "id", "mkdir", "tee", "grep", "ps", "date")
    links = [symlink(f"bin/{name}", "busybox") for name in names]
    entries = [folder("bin/"), busybox, *links, folder("tmp/", mode=0o1777), folder("etc/")]
    entries.append(file("etc/name", b"the image\n"))
    entries.append(file("bin/bash", b'#!/bin/sh\nexec /bin/sh "$@"\n', mode=0o755))
    return blobs.image([tar(*entries)])


def write_shim(path: Path) -> Path:
    """Write the programs into a folder, and return it."""
    words = [sys.executable, "-m", "sifmake", "-q", "shim", str(path)]
    subprocess.run(words, check=True, env=only(HOME=str(path)))
    return path


def only(**values: str) -> dict[str, str]:
    """Return the environment without variables of Apptainer and SingularityCE; their programs come last on PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("APPTAINER", "SINGULARITY"))}
    return kept | values
