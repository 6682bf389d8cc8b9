"""How many entries an image may have: by default 1,000,000 in a layer and 2,000,000 in all, settable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from sifmake.limits import DEFAULT_LIMITS
from support.images import Blobs, write_layout
from support.layers import file, tar

if TYPE_CHECKING:
    from pathlib import Path


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert (DEFAULT_LIMITS.layer_entries, DEFAULT_LIMITS.entries) == (1_000_000, 2_000_000)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("{entries: 9}", "the layers have more than 9 entries together (a limit); raise entries"),
        ("{layer-entries: 4}", "more than 4 entries in the layer; raise layer-entries"),
        ("{entries: 10, layer-entries: 5}", ""),
    ],
)
def test_an_image_of_too_many_entries_is_refused_before_the_target_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], limits: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    blobs = Blobs()
    layers = [tar(*(file(f"{layer}{number}", b"x") for number in range(5))) for layer in "ab"]
    write_layout(tmp_path / "app", blobs, {"1": blobs.image(layers)})
    (tmp_path / "sifmake.yaml").write_text(f"limits: {limits}\n")
    (tmp_path / "x.sif").write_bytes(b"precious")
    for _ in range(2):  # also when the packs are in the store
        assert main(["pull", "-F", "x.sif", "oci:app:1"]) == (1 if said else 0)
        assert said in capsys.readouterr().err
        assert not said or (tmp_path / "x.sif").read_bytes() == b"precious"
    assert main(["cache", "verify"]) == 0
