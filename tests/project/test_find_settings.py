"""Which file has the settings of a project, and which belongs to another program."""

from __future__ import annotations

from pathlib import Path

import pytest

from sifmake.cli.console import Console
from sifmake.errors import ConfigError
from sifmake.project.configuration import KEYS, Configuration, find_settings, load_configuration
from sifmake.project.project import Project
from sifmake.project.yaml_file import SCHEMAS, YamlFile

OURS = Path("sifmake.yaml")
FORMER = Path("config/config.yaml")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FORMER.parent.mkdir()


def test_the_keys_are_those_of_the_schema() -> None:
    assert set(YamlFile.read(SCHEMAS / "config.schema.yaml").value["properties"]) == KEYS


@pytest.mark.parametrize(
    ("former", "expected"),
    [
        (None, OURS),
        ("", FORMER),
        ("key: development\n", FORMER),
        ("trusted-key: [a]\nstore: {path: x}\n", FORMER),  # a mistyped key is reported, not ignored
        ("samples: [a]\n", OURS),
        ("samples: [a]\nkey: sample\n", OURS),
    ],
)
def test_the_former_file_counts_if_all_its_keys_are_ours(former: str | None, expected: Path) -> None:
    if former is not None:
        FORMER.write_text(former)
    assert find_settings(Path()) == expected


def test_the_new_file_counts_before_the_former() -> None:
    FORMER.write_text("key: development\n")
    OURS.write_text("")
    assert load_configuration(find_settings(Path()), Path()).key == ""


def test_signatures_are_not_ignored_among_foreign_keys() -> None:
    FORMER.write_text("samples: [a]\nrequire-signature: true\n")
    with pytest.raises(ConfigError, match=r"move the settings of sifmake to sifmake\.yaml"):
        find_settings(Path())


def test_settings_that_are_not_read_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    FORMER.write_text("samples: [a]\nstore: {path: x}\n")
    Path("config/images.yaml").write_text("images: {}\n")
    assert Project(Path(), progress=Console()).configuration == Configuration()
    assert "not read, because it has keys of another program (samples)" in capsys.readouterr().err
    FORMER.write_text("samples: [a]\n")
    assert Project(Path(), progress=Console()).configuration == Configuration()
    assert capsys.readouterr().err == ""
