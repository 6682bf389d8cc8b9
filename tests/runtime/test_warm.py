"""The loader that a program asks for is what ldd says it is; anything else has none."""

import re
import subprocess
from pathlib import Path

import pytest

from sifmake.runtime.view import View
from sifmake.runtime.warm import loader_of


@pytest.mark.parametrize("program", ["/bin/sh", "/usr/bin/env", "/bin/busybox", "/usr/bin/openssl", "/usr/bin/ldd"])
def test_the_loader_is_the_one_that_ldd_shows(program):
    path = Path(program).resolve()
    if not path.exists():
        pytest.skip(f"{program} is not installed")
    shown = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    found = re.search(r"^\t(/\S*/ld-\S+) \(", shown, re.MULTILINE)
    assert loader_of(View("/"), str(path)) == (found[1] if found else "")


ELF = b"\x7fELF\x02\x01" + bytes(26)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"#!/bin/sh\n",
        ELF,
        ELF + (2**63).to_bytes(8, "little") + bytes(16) + b"\xff\xff",
        ELF + (64).to_bytes(8, "little") + bytes(16) + b"\xff\xff" + bytes(4000),
        ELF
        + (64).to_bytes(8, "little")
        + bytes(16)
        + b"\1\0"
        + bytes(6)
        + b"\3\0\0\0\0\0\0\0"
        + b"\xff" * 8
        + bytes(40),
    ],
)
def test_a_damaged_program_has_none(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    assert loader_of(View(str(tmp_path)), "/x") == ""
