"""Messages are one line of a length that a person can read, whatever names strangers give to things."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from sifmake.errors import LONGEST_PART, NO_MEMORY, ConfigError, SifmakeError
from sifmake.project.configuration import load_configuration
from sifmake.project.images import load_images

if TYPE_CHECKING:
    from pathlib import Path

LONG = "x" * 500_000


def test_short_parts_stay_as_they_are() -> None:
    assert str(SifmakeError("a" * LONGEST_PART, where="b", hint="c")) == f"b: {'a' * LONGEST_PART}; c"


@pytest.mark.parametrize("part", ["where", "what", "hint"])
def test_long_parts_are_cut_in_the_middle(part: str) -> None:
    parts = {"where": "", "what": "w", "hint": "", part: f"begin {'y' * 10**6} end"}
    said = str(SifmakeError(parts["what"], where=parts["where"], hint=parts["hint"]))
    assert len(said) < 2100
    assert "begin y" in said
    assert "[998010 characters]" in said
    assert "y end" in said


@pytest.mark.parametrize(
    "text",
    [
        f"images: {{a: {{from: '{LONG}'}}}}",
        f"images: {{a: {{from: 'docker://{LONG}:1'}}}}",
        f"images: {{a: {{from: './{LONG}.sif', labels: {{a: b}}}}}}",
        f"images: {{a: {{from: docker://a, platform: {LONG}}}}}",
        f"images: {{a: {{from: docker://a, compression: {LONG}}}}}",
        f"images: {{a: {{from: 'docker://{LONG}:1', tags: [a]}}}}",
        f"registries: {{a: {{mirrors: ['http://{LONG}']}}}}",
        f"? {LONG}\n: 1\n",
    ],
)
def test_a_megabyte_in_a_file_is_not_a_megabyte_on_the_terminal(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    read = load_configuration if text.startswith("registries") else lambda path, _: load_images(path)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "x.yaml", tmp_path)
    assert len(str(caught.value)) < 5000


def test_a_text_that_cannot_name_a_file_names_a_key(tmp_path: Path) -> None:
    remote = f"{{uri: 'oci://a.b/c', sign-key: {LONG}}}"
    (tmp_path / "x.yaml").write_text(f"key: {LONG}\nstore: {{remote: [{remote}]}}\n")
    found = load_configuration(tmp_path / "x.yaml", tmp_path)
    assert found.key == LONG == found.remotes[0].sign_key


@pytest.mark.parametrize(
    ("root", "hint", "want"),
    [
        (".", "run sifmake lock app", "run sifmake lock app"),
        ("/srv/my images", "run sifmake lock app", "run sifmake lock --root '/srv/my images' app"),
        ("../x", "run `sifmake lock --offline` first", "run `sifmake lock --root ../x --offline` first"),
        ("../x", "run sifmake lock --root ../x app", "run sifmake lock --root ../x app"),
        (r"\1", "run sifmake lock", r"run sifmake lock --root '\1'"),
        ("../x", "delete the file", "delete the file"),
    ],
)
def test_a_hint_names_the_folder_of_the_project(root: str, hint: str, want: str) -> None:
    assert SifmakeError("x", hint=hint).at_root(root).hint == want


def test_lack_of_memory_is_not_a_defect(monkeypatch, capsys):
    def run_command(_):
        raise MemoryError

    monkeypatch.setattr("sifmake.cli.main.run_command", run_command)
    assert main(["cache", "list"]) == 1
    assert capsys.readouterr().err == f"sifmake: error: {NO_MEMORY}\n"
