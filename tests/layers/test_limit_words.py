"""A layer that is beyond a limit is not called damaged: the limit that lets it pass is named."""

from __future__ import annotations

import json

import pytest

from sifmake.cli.main import main
from sifmake.project.configuration import load_configuration
from support.images import Blobs, write_layout
from support.layers import file, tar

LAYER = tar(*(file(f"{'n' * 120}{number}", b"x" * 3000) for number in range(20)))
TIGHT = [{"layer-bytes": 4096}, {"layer-entries": 5}, {"file-bytes": 100}, {"name-bytes": 50}]


@pytest.mark.parametrize("limits", TIGHT, ids=lambda limits: next(iter(limits)))
def test_the_limit_is_named(tmp_path, monkeypatch, capsys, limits):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(json.dumps({"limits": limits}))
    assert load_configuration(tmp_path / "config/config.yaml", tmp_path).limits
    blobs = Blobs()
    write_layout(tmp_path / "layout", blobs, {"latest": blobs.image([LAYER])})
    assert main(["pull", "x.sif", "oci:layout:latest", "--arch", "amd64"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"raise {next(iter(limits))} (limits: in sifmake.yaml)" in line
    assert "damaged" not in line
    assert not (tmp_path / "x.sif").exists()
