"""Definition files of the corpus that Apptainer refuses: refused here too, with file and line."""

import pytest

import sifmake
from support.corpus import needs_corpus
from support.definition_golden import DEFINITIONS, make_context, record_of_noforce

BAD = sorted(path.stem for path in (DEFINITIONS / "bad").glob("*.def"))
BUILT = {"uppercase", "emptyarg"}
"""Apptainer builds `dupstage` and `filesarg` too, and loses data: these are refused here."""
NO_LINE = {"empty", "comment"}
SAID = {
    "dangling": "dangling",
    "filemissing": "ctx/missing",
    "globmissing": "ctx/miss",
    "nolayout": "missing-layout",
    "postfails": r":5: %post: .*exit status 1",
    "setupfails": r":4: %setup: .*exit status 4",
    "testfails": r":3: %test: .*exit status 3",
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refusals")
    make_context(folder)
    return folder


@pytest.fixture(autouse=True)
def _here(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    monkeypatch.setenv("SIFMAKE_CACHE", str(workshop / "store"))
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(workshop))
    monkeypatch.setenv("PRE_MARK", str(workshop / "pre-mark"))


@needs_corpus
@pytest.mark.parametrize("name", BAD)
def test_a_bad_definition_is_refused_by_file_and_line(name, workshop):
    target = workshop / f"{name}.sif"
    if name in BUILT:
        sifmake.build(DEFINITIONS / f"bad/{name}.def", target)
        return
    with pytest.raises(sifmake.SifmakeError, match=SAID.get(name)) as raised:
        sifmake.build(DEFINITIONS / f"bad/{name}.def", target, allow_host_sections=True)
    text = str(raised.value)
    assert f"{name}.def" in text or name in {"nolayout", "contcrash"}
    assert name in NO_LINE | {"nolayout", "contcrash"} or f"{name}.def:" in text
    assert not target.exists()


@needs_corpus
@pytest.mark.parametrize("name", ["13-labels-post", "22-rich-base", "15-local"])
def test_without_force_labels_and_help_of_the_base_stay(name, workshop):
    (workshop / "out").mkdir(exist_ok=True)
    if name == "15-local" and not (workshop / "out/14-all.sif").exists():
        sifmake.build(DEFINITIONS / "defs/14-all.def", workshop / "out/14-all.sif", allow_host_sections=True)
    built = sifmake.build(DEFINITIONS / f"defs/{name}.def", workshop / f"{name}.sif")
    ours, record = sifmake.inspect(built).attributes, record_of_noforce(name)
    own = {key: value for key, value in record["labels"].items() if not key.startswith("org.") or "example" in key}
    assert {key: ours["labels"].get(key) for key in own} == own
    assert ours.get("helpfile") == record.get("helpfile")
