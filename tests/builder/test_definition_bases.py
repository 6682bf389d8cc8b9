"""Bases of definition files: their apps, and those that are missing."""

import errno
import os
import stat

import pytest

import sifmake
from sifmake.errors import LayerError, SifmakeError, SourceError
from support.building import Works, needs_scripts, root_tar
from support.definition_golden import text_in
from support.messages import Messages


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


def test_a_base_that_is_missing_names_its_line(works, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(works.folder / "store"))
    definition = works.folder / "missing.def"
    definition.write_text("# c\nBootstrap: oci\nFrom: missing-layout\n")
    with pytest.raises(SifmakeError) as error:
        sifmake.build(definition, works.folder / "out.sif", force=True)
    assert str(error.value).startswith(f"{definition}:3: oci:missing-layout: ")


@pytest.mark.parametrize("path", ["fifo", "/proc/self/mem", "/dev/null", "loop"])
def test_what_cannot_be_a_base_names_its_line(works, monkeypatch, path):
    monkeypatch.setenv("SIFMAKE_CACHE", str(works.folder / "store"))
    if not (works.folder / "fifo").exists():
        os.mkfifo(works.folder / "fifo")
        (works.folder / "loop").symlink_to("loop")
    with pytest.raises(SourceError, match=rf"tool\.def:2: .*{path[-4:]}"):
        works.build("%labels\n    A b\n", base="localimage", name=path)


@pytest.mark.parametrize("source", ["a /.wh.b", "folder /x"])
def test_files_that_a_layer_cannot_hold_are_refused(works, monkeypatch, source):
    monkeypatch.setenv("SIFMAKE_CACHE", str(works.folder / "store"))
    monkeypatch.chdir(works.folder)
    (works.folder / "a").touch()
    (works.folder / "folder").mkdir(exist_ok=True)
    (works.folder / "folder/.wh.x").touch()
    with pytest.raises(LayerError, match=r"a layer cannot hold a name that begins with \.wh\."):
        works.build(f"%files\n    {source}\n")


@pytest.mark.parametrize(("text", "lost"), [("[" * 9999, True), ("[]", True), ('{"A": "b", "C": 1}', False)])
def test_labels_of_a_base_are_not_lost_in_silence(works, monkeypatch, text, lost):
    monkeypatch.setenv("SIFMAKE_CACHE", str(works.folder / "store"))
    (works.folder / "base.tar").write_bytes(root_tar(".singularity.d", f".singularity.d/labels.json={text}"))
    told = Messages()
    works.build("%help\n    me\n", base="localimage", name="base.tar", progress=told)
    assert any("its labels are lost" in warning for warning in told.warnings) is lost
    assert ("A" in sifmake.inspect(works.folder / "out.sif").labels) is not lost


def test_an_error_of_the_store_is_not_one_of_the_base(tmp_path, monkeypatch):
    """The base is read while its layer is written, and the user must learn which of the two failed."""
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    (tmp_path / "base").mkdir()
    (tmp_path / "base/file").write_text("text\n")

    def fail(fd):
        if stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.fsync", fail)
    monkeypatch.setattr("os.fdatasync", fail)
    with pytest.raises(OSError, match=r"Input/output error \(the store\)") as caught:
        sifmake.build(tmp_path / "base", tmp_path / "x.sif")
    assert str(caught.value.filename) == f"{tmp_path}/store/tmp"
