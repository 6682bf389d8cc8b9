"""Definition files of the corpus: the tree and what `inspect` shows are Apptainer's, but for a reviewed list."""

import json

import pytest

import sifmake
from support.corpus import needs_corpus
from support.definition_golden import GOOD, facts_of_text, make_context, record_of, text_in, tree_of, with_our_script

VERSION = "org.label-schema.usage.apptainer.version"
TIMES = {"org.label-schema.build-date", "org.opencontainers.image.created"}
ARGUMENTS = {"14-all": {"allow_host_sections": True}, "16-scratch": {"allow_host_sections": True}}

# The reviewed list. Nothing else may differ.
ANY_CONTENT = {
    "/.singularity.d/labels.json": "our labels name no version of a tool, and no clock; compared label by label below",
    "/scif/apps/foo-bar/scif/env/01-base.sh": "our own text (ADR 6)",
    "/scif/apps/second/scif/env/01-base.sh": "our own text (ADR 6)",
    "/.singularity.d/env/94-appsbase.sh": "our own text (ADR 6)",
}
COPIED_HERE = {"29-files-trailing": ["/x3"]}
"""Apptainer leaves out what follows `%files  # comment` and says nothing."""
OF_THE_RUNNER = {
    ("01-post", "/mounts"): "more of /dev and /proc is covered, /etc/hosts and resolv.conf are the same",
    ("01-post", "/post-env"): "no host name, mounts or terminal of the builder; SOURCE_DATE_EPOCH is set",
    ("01-post", "/post-files"): "its own pipeline makes the file before or after `ls` lists the folder",
    ("04-environment-post", "/vars"): "the same",
    ("10-multistage", "/listing"): "it shows times",
    ("22-rich-base", "/.singularity.d/runscript"): "our own script for Entrypoint and Cmd (ADR 6)",
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("definitions")
    make_context(folder)
    (folder / "out").mkdir()
    return folder


@pytest.fixture
def here(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    monkeypatch.setenv("SIFMAKE_CACHE", str(workshop / "store"))
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(workshop))
    monkeypatch.setenv("PRE_MARK", str(workshop / "pre-mark"))
    return workshop


def built(name, here):
    """Return the SIF file of a definition, made once."""
    sif = here / f"out/{name}.sif"
    if name == "00-base":
        return sif if sif.exists() else sifmake.build("oci:base", sif).path
    if name == "15-local":
        built("14-all", here)
    if not sif.exists():
        from support.definition_golden import DEFINITIONS

        sifmake.build(DEFINITIONS / f"defs/{name}.def", sif, force=True, **ARGUMENTS.get(name, {}))
    return sif


@needs_corpus
@pytest.mark.parametrize("name", GOOD)
def test_the_tree_is_apptainers(name, here):
    sif = built(name, here)
    ours, base, record = tree_of(sif), tree_of(built("00-base", here)), record_of(name)
    changed = {path: facts for path, facts in ours.items() if alike(base.get(path)) != alike(facts)}
    assert sorted(base.keys() - ours.keys()) == sorted(record["removed"])
    wanted = dict(record["tree"])
    for path, text in record["texts"].items():
        if path in wanted and "<" in text:
            wanted[path] = wanted[path] | facts_of_text(with_our_script(text, path))
    for path in {*changed, *wanted}:
        if path in ANY_CONTENT or (name, path) in OF_THE_RUNNER:
            changed.get(path, {}).update(size=0, sha256="")
            wanted.get(path, {}).update(size=0, sha256="")
    for path in COPIED_HERE.get(name, ()):
        assert changed.pop(path)["size"] == 4
    assert [path for path in {*changed, *wanted} if changed.get(path) != wanted.get(path)] == []


def alike(facts):
    """Leave out the number of names: it changes where one of 405 names of busybox goes."""
    return facts and facts | {"nlink": 0}


@needs_corpus
@pytest.mark.parametrize("name", GOOD)
def test_inspect_shows_what_apptainer_shows(name, here):
    sif, record = built(name, here), record_of(name)
    ours = sifmake.inspect(sif).attributes
    wanted = record["inspect --all"]["data"]["attributes"]
    for labels in (ours["labels"], wanted["labels"]):
        labels.pop(VERSION, None)
        assert labels.keys() >= TIMES
        for key in TIMES:
            labels.pop(key)
    assert sorted(ours) == sorted(wanted)
    for key in wanted:
        if key == "environment":
            assert sorted(ours[key]) == sorted(wanted[key])
        if isinstance(wanted[key], str) and "bytes of apptainer" in wanted[key]:
            continue
        if key == "environment":
            for path, text in wanted[key].items():
                assert ours[key][path] == with_our_script(text, path).rstrip("\n")
        elif key != "apps":
            assert ours[key] == wanted[key]


@needs_corpus
@pytest.mark.parametrize("name", GOOD)
def test_the_file_has_the_same_objects(name, here):
    with sifmake.open_sif(built(name, here)) as sif:
        ours = [(item.data_type, item.label) for item in sif.objects]
        deffile = sif.read(sif.get(1)).decode("utf-8", "surrogateescape")
        texts = {item.label: sif.read(item).decode() for item in sif.objects if item.label.endswith("config.json")}
    record = record_of(name)["objects"]
    assert ours == [(item["type"], item["name"]) for item in record]
    assert deffile == record[0]["text"]
    assert texts == {item["name"]: item["text"] for item in record if item["name"].endswith("config.json")}


@needs_corpus
def test_labels_are_written_as_they_are_shown(here):
    sif = built("02-labels", here)
    assert json.loads(text_in(sif, "/.singularity.d/labels.json")) == sifmake.inspect(sif).labels
