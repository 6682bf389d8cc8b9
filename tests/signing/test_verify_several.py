"""``verify`` of several files, and ``sif info``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from support.signing import pem_pair, signed, write_sif

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good file, one without a signature, an altered one, one of another key, and a text."""
    monkeypatch.chdir(tmp_path)
    pair = pem_pair(tmp_path)
    (tmp_path / "other").mkdir()
    signed(write_sif(tmp_path / "good.sif"), pair)
    write_sif(tmp_path / "unsigned.sif")
    altered = signed(write_sif(tmp_path / "altered.sif"), pair)
    data = bytearray(altered.read_bytes())
    data[32768 + 5] ^= 1
    altered.write_bytes(data)
    signed(write_sif(tmp_path / "foreign.sif"), pem_pair(tmp_path / "other"))
    (tmp_path / "text.sif").write_text("no image")
    return tmp_path


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (["good", "good"], 0),
        (["good", "unsigned"], 10),
        (["unsigned", "good"], 10),
        (["foreign", "unsigned"], 12),
        (["altered", "foreign", "good"], 11),
        (["text", "good"], 1),
        (["text", "unsigned"], 10),
        (["missing", "good"], 1),
        (["good"], 0),
        (["altered"], 11),
    ],
)
def test_the_worst_file_decides(files: Path, capsys: pytest.CaptureFixture[str], names: list[str], status: int) -> None:
    words = [f"{name}.sif" for name in names]
    assert main(["verify", "--key", "ed25519.pub.pem", *words]) == status
    captured = capsys.readouterr()
    assert captured.err.count("verified signature(s) from image 'good.sif'") == names.count("good")
    if len(words) > 1:
        assert [line for line in captured.out.splitlines() if line.endswith(".sif:")] == [f"{word}:" for word in words]


def test_each_file_has_its_document(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["good.sif", "text.sif", "missing.sif", "altered.sif"]
    assert main(["verify", "--json", "--key", "ed25519.pub.pem", *names]) == 11
    documents = json.loads(capsys.readouterr().out)
    assert [(one["File"], one["ExitCode"]) for one in documents] == list(zip(names, (0, 1, 1, 11), strict=True))
    assert main(["verify", "--json", "--key", "ed25519.pub.pem", "good.sif"]) == 0
    assert json.loads(capsys.readouterr().out)["ExitCode"] == 0


def test_info_shows_one_descriptor(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sif", "list", "good.sif"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line[:1].isdigit()]
    for row in rows:
        assert main(["sif", "info", row[0].strip(), "good.sif"]) == 0
        shown = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
        fields = {name: value.strip() for name, value in shown.items()}
        assert fields["ID"] == row[0].strip()
        start, _, end = row[3].strip().partition("-")
        assert (fields["Offset"], fields["Size"]) == (start, f"{int(end) - int(start)} bytes")
        assert row[4].startswith(fields["Data Type"])
        if fields["Data Type"] == "FS":
            assert (fields["Filesystem Type"], fields["Partition Type"]) == ("Squashfs", "*System")
        if fields["Data Type"] == "Signature":
            assert fields["Hash Type"] == "SHA-256"
            assert fields["Linked Group ID"] == "1"
    assert main(["sif", "info", "99", "good.sif"]) == 1
