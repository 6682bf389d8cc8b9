"""Starting a project: in an empty folder, in a pipeline, and where files exist already."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from support.layers import file, tar
from support.project import REPOSITORY, Folder

if TYPE_CHECKING:
    from pathlib import Path

    from support.counting_registry import CountingRegistry

LAYOUT = REPOSITORY / "examples/hello/layout"
FILES = {"sifmake.yaml", "config/images.yaml", "dodo.py", "Snakefile", ".gitignore", "profiles/default/config.yaml"}


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def name_an_image(root: Path) -> None:
    shutil.copytree(LAYOUT, root / "layout")
    (root / "config/images.yaml").write_text("images:\n  hello:\n    from: oci:layout:latest\n")


def test_a_new_project_builds_with_both_engines(project: Folder) -> None:
    project.run("sifmake", "init")
    assert names(project.root) == FILES
    assert "scanned 0" in project.run("doit", "outdated")
    name_an_image(project.root)
    project.run("doit", "pull_image")
    first = project.target("hello").read_bytes()
    project.target("hello").unlink()
    shutil.rmtree(project.root / "results")
    project.run("snakemake", "images")
    assert project.target("hello").read_bytes() == first


def test_a_folder_that_is_not_there_is_made(project: Folder) -> None:
    project.run("sifmake", "init", "deep/er")
    assert names(project.root) == {f"deep/er/{name}" for name in FILES}


def test_what_exists_stays_as_it_is(project: Folder) -> None:
    project.root.mkdir(parents=True)
    (project.root / "dodo.py").write_text("# mine\n")
    (project.root / ".gitignore").symlink_to("/nowhere")
    said = project.run("sifmake", "init")
    assert "dodo.py: exists, left unchanged" in said
    assert (project.root / "dodo.py").read_text() == "# mine\n"
    assert not (project.root / ".gitignore").exists()
    before = {name: (project.root / name).read_bytes() for name in FILES - {".gitignore"}}
    project.run("sifmake", "init")
    assert {name: (project.root / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("place", ["Snakefile", "workflow/Snakefile"])
def test_a_pipeline_takes_the_images_as_a_module(project: Folder, place: str) -> None:
    """Its own config/config.yaml has keys that sifmake has too, and means something else by them."""
    (project.root / "config").mkdir(parents=True)
    (project.root / "config/config.yaml").write_text("samples: [a]\nkey: sample_id\nlimits: none\n")
    snakefile = project.root / place
    snakefile.parent.mkdir(exist_ok=True)
    mine = 'configfile: "config/config.yaml"\n\nrule all:\n    input: "containers/results/hello/publish.json"\n'
    snakefile.write_text(mine)
    said = project.run("sifmake", "init")
    snippet = said[said.index("module containers:") :]
    assert names(project.root / "containers") == FILES - {"profiles/default/config.yaml"}
    name_an_image(project.root / "containers")
    snakefile.write_text(mine + snippet)
    project.run("snakemake", "-c1")
    assert (project.root / "containers/images/hello.sif").exists()
    assert not (project.root / "images").exists()


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "---\n", "{}\n", "---\n...\n"])
@pytest.mark.parametrize("name", ["sifmake.yaml", "config/config.yaml"])
def test_settings_may_be_missing_or_empty(
    project: Folder, registry: CountingRegistry, name: str, text: str | None
) -> None:
    """Row F5 of the reports (h55): the same for both engines."""
    registry.tags["app:1"] = registry.blobs.image([tar(file("a", b"a"))])
    project.images["app"] = {"from": f"docker://{registry.host}/app:1"}
    project.write()
    (project.root / "sifmake.yaml").unlink()
    if text is not None:
        (project.root / name).write_text(text)
    project.build("snakemake")
    first = project.target("app").read_bytes()
    project.target("app").unlink()
    project.build("doit")
    assert project.target("app").read_bytes() == first
