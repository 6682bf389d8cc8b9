"""The program that runs the test of an image: what it is given, and how long it may take."""

import os
from pathlib import Path

import pytest

from sifmake.builder import image_test
from sifmake.builder.image_test import ImageTest
from sifmake.errors import StepError


@pytest.fixture
def given(monkeypatch):
    """Return what the program is started with; it is not started."""
    found = {}

    def run(words, output, *, environment, folder, seconds):
        found.update(words=words, environment=environment, folder=folder)
        if seconds < 1:
            raise TimeoutError
        return 0

    monkeypatch.setattr(image_test, "run_telling", run)
    return found


def test_it_finds_sifmake_and_gets_nothing_else(given, monkeypatch):
    """Environment modules say with variables where Python and its packages are."""
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "SIFMAKE_PASSPHRASE", "APPTAINERENV_A", "GITHUB_TOKEN", "A"):
        monkeypatch.setenv(name, "value")
    ImageTest(Path("a.sif"), "x", print).run_script()
    assert {"PYTHONPATH", "LD_LIBRARY_PATH"} <= given["environment"].keys()
    assert not {"SIFMAKE_PASSPHRASE", "APPTAINERENV_A", "GITHUB_TOKEN", "A"} & given["environment"].keys()
    assert given["folder"] == "/"
    assert given["words"][-1] == os.path.abspath("a.sif")


@pytest.mark.parametrize("network", [False, True])
def test_it_has_a_network_only_if_that_is_asked_for(given, network):
    ImageTest(Path("a.sif"), "x", print, network=network).run_command("true")
    assert ("--net" in given["words"]) is not network
    assert {"--containall", "--no-home", "--cleanenv", "--no-privs"} <= set(given["words"])


def test_a_test_that_takes_too_long_has_failed(given):
    with pytest.raises(StepError, match=r"tool\.def:3: the test took more than 0 s; use --notest"):
        ImageTest(Path("a.sif"), "tool.def:3", print, seconds=0.1).run_script()
    with pytest.raises(StepError, match="took more than 0 s; correct it"):
        ImageTest(Path("a.sif"), "test", print, hint="correct it", seconds=0.1).run_command("true")
