"""Snakemake's own sides: lint, module, consumer, catalog, report, remote execution."""

from __future__ import annotations

import json
import shutil
import zipfile
from typing import TYPE_CHECKING

import pytest
import yaml

from support.layers import file, tar
from support.project import REPOSITORY, Folder

if TYPE_CHECKING:
    from pathlib import Path

    from support.counting_registry import CountingRegistry

PARTS = ("workflow", "envs", "profiles", "examples", ".test", "Snakefile", "config")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what the workflow consists of, without what was built in it."""
    ignore = shutil.ignore_patterns("locks", "images", "results", "logs", ".snakemake", "__pycache__")
    for part in PARTS:
        source, target = REPOSITORY / part, tmp_path / "copy" / part
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target, ignore=ignore) if source.is_dir() else shutil.copy(source, target)
    return tmp_path / "copy"


def at(folder: Path, tmp_path: Path) -> Folder:
    return Folder(folder, tmp_path / "home")


def test_lint_is_clean(copy: Path, tmp_path: Path) -> None:
    project = at(copy, tmp_path)
    assert "Congratulations" in project.run("snakemake", "--lint")
    assert "Congratulations" in project.run("snakemake", "--lint", "-s", "workflow/Snakefile")


def test_a_dry_run_writes_nothing_and_asks_nobody(project: Folder, registry: CountingRegistry) -> None:
    registry.down = True
    project.images["app"] = {"from": f"docker://{registry.host}/app:1"}
    project.write()
    before = sorted(project.root.rglob("*"))
    assert "publish" in project.snakemake("-n")
    assert [path for path in sorted(project.root.rglob("*")) if ".snakemake" not in path.parts] == before
    assert registry.requests == []


def test_the_consumer_rebuilds_when_the_image_changes(copy: Path, tmp_path: Path) -> None:
    """A module with prefix and an overridden rule; the receipt is what the consuming rule depends on."""
    project = at(copy / "examples/consumer", tmp_path)
    project.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    greeting = project.root / "results/greeting.txt"
    project.run("snakemake", "-c2")
    assert greeting.read_text() == "Hello, world!\n"
    made = greeting.stat().st_mtime_ns
    project.run("sifmake", "lock", "--root", "containers")
    assert "Nothing to be done" in project.run("snakemake", "-c2")

    target = project.root / "containers/images/hello.sif"
    published = target.stat().st_mtime_ns
    project.run("snakemake", "-c2", "-F", "containers/images/hello.sif")
    assert target.stat().st_mtime_ns != published
    project.run("snakemake", "-c2")
    assert greeting.stat().st_mtime_ns == made

    images = project.root / "containers/config/images.yaml"
    images.write_text(images.read_text() + "    labels: {changed: 'yes'}\n")
    assert "run `sifmake lock --offline`" in project.run("snakemake", "-c2", status=1)
    project.run("sifmake", "lock", "--offline", "--root", "containers")
    project.run("snakemake", "-c2")
    assert greeting.stat().st_mtime_ns != made


def test_the_catalogs_test_folder_builds(copy: Path, tmp_path: Path) -> None:
    project = at(copy, tmp_path)
    project.run("snakemake", "-s", "workflow/Snakefile", "--directory", ".test", "-c2")
    assert (copy / ".test/images/hello.sif").exists()
    report = project.run(
        "snakemake", "-s", "workflow/Snakefile", "--directory", ".test", "--report", str(tmp_path / "report.zip")
    )
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        text = b"".join(archive.read(name) for name in archive.namelist())
    assert b"found in the signed SIF of hello" in text, report
    assert b"SIF_MAGIC" not in text


def test_catalog_conventions() -> None:
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"] is True
    assert usage["report"] is True
    assert (REPOSITORY / "config/README.md").stat().st_size > 1000
    environments = {path.name for path in (REPOSITORY / "envs").glob("*.yaml")}
    for path in (REPOSITORY / "workflow/rules").glob("*.smk"):
        for line in path.read_text().splitlines():
            if "envs/" in line:
                assert line.strip().strip('"').rpartition("/")[2] in environments


def test_settings_on_the_command_line_are_refused(copy: Path, tmp_path: Path) -> None:
    text = at(copy, tmp_path).run("snakemake", "-n", "--config", "key=other", status=1)
    assert "--config cannot set key" in text


def test_jobs_on_other_nodes(project: Folder, registry: CountingRegistry, tmp_path: Path) -> None:
    """The slurm profile's settings through an executor that needs no Slurm."""
    registry.tags["app:1"] = registry.blobs.image([tar(file("a", b"a"))])
    project.images["app"] = {"from": f"docker://{registry.host}/app:1"}
    project.write()
    submit = tmp_path / "submit.sh"
    submit.write_text('#!/bin/sh\necho "$1" >>"$(dirname "$0")/jobs"\nsh "$1" >/dev/null 2>&1 &\necho $!\n')
    submit.chmod(0o755)
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text())
    del profile["slurm-status-command"]  # an option of the executor for Slurm
    profile |= {"executor": "cluster-generic", "cluster-generic-submit-cmd": str(submit), "latency-wait": 5}
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text(json.dumps(profile))
    snakefile = str(REPOSITORY / "workflow/Snakefile")
    project.run("snakemake", "-s", snakefile, "--profile", str(tmp_path / "profile"))
    assert project.target("app").exists()
    assert len((tmp_path / "jobs").read_text().splitlines()) == 1  # flatten with sif; the rest is local


def test_snakemakes_container_cache_is_seeded(project: Folder, registry: CountingRegistry, tmp_path: Path) -> None:
    """Another workflow's ``container: "docker://..."`` takes the seeded file and pulls nothing."""
    registry.tags["app:1"] = registry.blobs.image([tar(file("a", b"a"))])
    url = f"docker://{registry.host}/app:1"
    project.images["app"] = {"from": url}
    project.write()
    prefix = project.root / "prefix"
    project.run("sifmake", "lock")
    assert "run `doit pull_image:" in project.run("sifmake", "seed", "--snakemake-prefix", str(prefix), status=1)
    project.doit("pull_image")
    project.run("sifmake", "seed", "--snakemake-prefix", str(prefix))
    project.run("sifmake", "seed")  # where Snakemake looks without --apptainer-prefix
    assert sorted(path.name for path in (project.root / ".snakemake/singularity").iterdir()) == sorted(
        path.name for path in prefix.iterdir()
    )
    assert {path.read_bytes() for path in prefix.iterdir()} == {project.target("app").read_bytes()}

    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "apptainer").write_text(
        '#!/bin/sh\ncase "$1" in --version) echo apptainer version 1.3.0; exit;; esac\n'
        f'echo "$@" >>{tmp_path}/calls\ncase "$*" in *pull*) exit 1;; esac\n'
        'for last; do :; done\nbash -c "$last"\n'
    )
    (tools / "apptainer").chmod(0o755)
    other = Folder(tmp_path / "other", tmp_path / "home", environ={"PATH": f"{tools}:/usr/bin:/bin"})
    other.root.mkdir()
    (other.root / "Snakefile").write_text(
        f'rule all:\n    output: "done"\n    container: "{url}"\n    shell: "echo yes > {{output}}"\n'
    )
    other.run("snakemake", "-c1", "--sdm", "apptainer", "--apptainer-prefix", str(prefix))
    calls = (tmp_path / "calls").read_text()
    assert "pull" not in calls
    assert ".simg" in calls
    broken = project.target("app")
    broken.write_bytes(broken.read_bytes()[:-1] + b"x")
    text = project.run("sifmake", "seed", "--snakemake-prefix", str(prefix), status=1)
    assert "not the file that was published" in text
