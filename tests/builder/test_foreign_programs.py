"""Programs of other architectures: said before a script fails with "Exec format error"."""

import pytest

from sifmake.builder import foreign_programs
from sifmake.builder.foreign_programs import check_runnable
from sifmake.errors import StepError
from sifmake.oci.model import Platform


@pytest.fixture(autouse=True)
def registered(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_programs, "_REGISTERED", tmp_path)
    monkeypatch.setattr(foreign_programs, "host_platform", lambda: Platform("linux", "amd64"))
    return tmp_path


@pytest.mark.parametrize("architecture", ["amd64", "386", ""])
def test_what_the_processor_runs_is_fine(architecture):
    check_runnable(architecture, "%post", "x.def:3")


def test_others_need_an_emulator(registered):
    with pytest.raises(StepError, match=r"x\.def:3: %post is for arm64, but this machine is amd64; .*qemu-user"):
        check_runnable("arm64", "%post", "x.def:3")
    (registered / "qemu-aarch64").touch()
    check_runnable("arm64", "%post", "x.def:3")
