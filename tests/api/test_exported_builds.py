"""Images that were built here, given back: the layers of base and steps as they are, and one of sifmake's own files."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

import sifmake
from sifmake.cli.main import main
from sifmake.errors import LockError, PackDamagedError, UsageError
from support.building import needs_scripts, root_tar
from support.definition_projects import Definitions
from support.hello import HELLO
from support.images import digest_of
from support.packs import as_first_format, tamper

SECTIONS = (
    "%files\n    note /opt/note\n%post\n    echo made > /made\n    ln /made /also\n    rm /etc/passwd\n"
    "%environment\n    export GREETING=hi\n%runscript\n    echo $GREETING $@\n%labels\n    own label"
)


def project_of(root, **images):
    """A project with images of root file systems and definitions that run nothing."""
    made = Definitions(root / "p")
    for name, source in images.items():
        made.declare(name, source, sign=False)
    (made.root / "note").write_text("note\n")
    return made


def locked(project):
    assert "" not in (changed := project.lock()).values(), changed
    return project


def read(folder):
    """Return config and layers of the only image in a layout, all checked against their digests."""
    blobs = {f"sha256:{path.name}": path.read_bytes() for path in Path(folder, "blobs/sha256").iterdir()}
    assert all(digest == digest_of(data) for digest, data in blobs.items())
    (entry,) = json.loads(Path(folder, "index.json").read_text())["manifests"]
    manifest = json.loads(blobs[entry["digest"]])
    config = json.loads(blobs[manifest["config"]["digest"]])
    layers = [gzip.decompress(blobs[layer["digest"]]) for layer in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == [digest_of(layer) for layer in layers]
    assert len(blobs) == 2 + len({layer["digest"] for layer in manifest["layers"]})
    return config, layers


def names_in(layer):
    with tarfile.open(fileobj=BytesIO(layer)) as archive:
        return {member.name.removeprefix("./") for member in archive}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A project whose image has steps."""
    made = Definitions(tmp_path_factory.mktemp("built") / "p").with_busybox()
    (made.root / "note").write_text("note\n")
    made.define("tool", SECTIONS, sign=False)
    made.define("plain", "%files\n    note /opt/note\n%labels\n    own label", sign=False)
    locked(made).build("tool")
    return made


@needs_scripts
class TestStepsOfDefinitions:
    def test_the_layers_and_the_files_of_the_image_come_back(self, built):
        done = sifmake.export("tool", "oci:out:tool", root=built.root)
        config, layers = read("out")
        (base,) = json.loads((built.root / "base/index.json").read_text())["manifests"]
        manifest = json.loads((built.root / "base/blobs/sha256" / base["digest"][7:]).read_bytes())
        below = json.loads((built.root / "base/blobs/sha256" / manifest["config"]["digest"][7:]).read_bytes())
        assert config["rootfs"]["diff_ids"][:-3] == below["rootfs"]["diff_ids"]
        assert (done.layers, done.renewed) == (len(layers), 0)
        assert "opt/note" in names_in(layers[-3])
        assert names_in(layers[-2]) >= {"made", "also", "etc/.wh.passwd"}
        assert ".singularity.d/env/90-environment.sh" in names_in(layers[-1])
        assert names_in(layers[-1]).isdisjoint({"made", "bin/busybox", "opt/note"})
        settings = config["config"]
        (program,) = settings["Entrypoint"]
        assert program[1:] in names_in(layers[-1])
        assert "Cmd" not in settings
        assert settings["Env"] == below["config"]["Env"]
        assert settings["Labels"]["own"] == "label"
        sifmake.pull("oci:out:tool", "again.sif")
        files = sifmake.diff(built.root / "images/tool.sif", "again.sif").files
        changed = {path for paths in files.values() for path in paths}
        assert all(path.startswith(".singularity.d/") for path in changed), changed
        assert sifmake.export("tool", "oci:other", root=built.root).digest == done.digest

    def test_what_has_no_script_keeps_the_program_of_its_base(self, built):
        sifmake.export("plain", "oci:out", root=built.root)
        config, _ = read("out")
        assert config["config"]["Cmd"] == ["sh"]
        assert "Entrypoint" not in config["config"]
        assert config["config"]["Labels"]["own"] == "label"

    def test_the_image_that_comes_back_runs_as_it_did(self, built, capfd):
        sifmake.export("tool", "oci:out", root=built.root)
        sifmake.pull("oci:out", "again.sif")
        for image in ("again.sif", built.root / "images/tool.sif"):
            subprocess.run([sys.executable, "-m", "sifmake", "run", image, "you"], check=True)
            assert capfd.readouterr().out == "hi you\n"

    def test_a_layer_of_a_step_comes_back_without_its_residue(self, tmp_path):
        made = Definitions(tmp_path / "p").with_busybox()
        (made.root / "note").write_text("note\n")
        made.define("tool", SECTIONS, sign=False)
        locked(made).build("tool")
        wanted = sifmake.export("tool", "oci:out", root=made.root).digest
        record = json.loads((made.root / "results/tool/steps.json").read_text())
        for diff_id in record["result"]["layers"]:
            (pack,) = (tmp_path / "store/packs").rglob(f"{diff_id[7:]}-*")
            pack.rename(pack.with_name(as_first_format(pack)))
        assert sifmake.export("tool", "oci:other", root=made.root).digest == wanted


def test_a_root_file_system_comes_back_from_its_archive_and_from_its_folder(tmp_path):
    made = project_of(tmp_path, tar="./root.tar", folder="./root/")
    (made.root / "root.tar").write_bytes(raw := root_tar("bin", "bin/tool=x", "bin/link->tool"))
    (made.root / "root/bin").mkdir(parents=True)
    (made.root / "root/bin/tool").write_text("x")
    locked(made)
    assert main(["export", "--root", str(made.root), "tar", "oci:out"]) == 0
    config, layers = read("out")
    assert layers[0] == raw
    assert config["config"].get("Entrypoint") is None
    done = sifmake.export("folder", "oci:other:a", root=made.root)
    assert names_in(read("other")[1][0]) >= {"bin", "bin/tool"}
    assert done.layers == 2


def test_an_archive_whose_pack_cannot_give_it_is_named(tmp_path):
    made = project_of(tmp_path, tar="./root.tar")
    (made.root / "root.tar").write_bytes(root_tar("bin", "bin/tool=x") + b"behind the end")
    locked(made)
    sifmake.export("tar", "oci:out", root=made.root)
    for pack in (tmp_path / "store/packs").rglob("*-*"):
        if pack.is_file():
            tamper(pack, lambda parts: parts.__setitem__("residue", b""))
    with pytest.raises(PackDamagedError, match="not written by sifmake; remove the file and build the image again"):
        sifmake.export("tar", "oci:other", root=made.root)
    assert not Path("other/index.json").exists()


def test_what_is_outside_the_project_has_to_be_allowed(tmp_path, capsys):
    made = project_of(tmp_path)
    (tmp_path / "outside").write_text("x\n")
    made.define("tool", f"%files\n    {tmp_path}/outside /opt/x", "Bootstrap: scratch", sign=False)
    assert made.lock(allow_files=(tmp_path,)) == {"tool": "there was no lock"}
    words = ["export", "--root", str(made.root)]
    assert main([*words, "tool", "oci:out"]) == 2
    assert "outside the folders that may be copied from" in capsys.readouterr().err
    assert main([*words, "--allow-files", str(tmp_path), "tool", "oci:out"]) == 0


def test_a_lock_that_is_out_of_date_and_a_sif_file_are_refused(tmp_path, capsys):
    sifmake.pull(HELLO, "hello.sif")
    made = project_of(tmp_path, sif="./hello.sif")
    Path("hello.sif").rename(made.root / "hello.sif")
    made.define("tool", "%files\n    note /opt/x", "Bootstrap: scratch", sign=False)
    locked(made)
    (made.root / "note").write_text("another\n")
    with pytest.raises(LockError, match=r"tool: .*out of date: the files note changed"):
        sifmake.export("tool", "oci:out", root=made.root)
    with pytest.raises(UsageError, match="a prebuilt SIF file"):
        sifmake.export("sif", "oci:out", root=made.root)
    assert main(["push", "--root", str(made.root), "sif", "docker://localhost/x:1"]) == 2
    assert "a prebuilt SIF file" in capsys.readouterr().err
