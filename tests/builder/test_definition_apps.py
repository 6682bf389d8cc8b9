"""Apps in images that are built on images with apps."""

import pytest

import sifmake
from support.building import Works, needs_scripts
from support.definition_golden import text_in


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return Works(tmp_path_factory.mktemp("works"))


@needs_scripts
def test_each_image_lists_its_own_apps(works, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(works.folder / "store"))
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(works.folder))
    monkeypatch.chdir(works.folder)
    app = "%appinstall one\n    echo $SCIF_APPROOT_one $SCIF_APPNAME > made\n%apprun one\n    cat /scif/apps/one/made\n"
    works.build(app, "base.sif")
    assert text_in(works.folder / "base.sif", "/scif/apps/one/made") == "/scif/apps/one one\n"
    assert "SCIF_APPRUN_one" in text_in(works.folder / "base.sif", "/.singularity.d/env/94-appsbase.sh")
    definition = works.folder / "next.def"
    definition.write_text("Bootstrap: localimage\nFrom: base.sif\n%labels\n    a b\n")
    sifmake.build(definition, "next.sif", force=True)
    assert text_in(works.folder / "next.sif", "/.singularity.d/env/94-appsbase.sh") == ""
    assert text_in(works.folder / "next.sif", "/scif/apps/one/made") == "/scif/apps/one one\n"
    assert "one" in sifmake.inspect("next.sif").attributes["apps"]
