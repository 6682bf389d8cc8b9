"""The profile for Slurm: one job for each image, whether the cluster has an accounting database or not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from support.layers import file, tar
from support.project import REPOSITORY

if TYPE_CHECKING:
    from support.counting_registry import CountingRegistry
    from support.project import Folder

PROFILE = REPOSITORY / "profiles/slurm"


def test_an_image_is_one_job() -> None:
    """What is fetched, signed and verified is so where Snakemake runs; the rest of an image is one group."""
    rules = {}
    for path in (REPOSITORY / "workflow/rules").glob("*.smk"):
        for part in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            local, group = "localrule: True" in part, re.search(r'group:\s+"(\w+)"', part)
            rules[part.partition(":")[0]] = "here" if local else group and group[1]
    assert {name for name, where in rules.items() if where == "image"} == {"steps", "flatten", "sif"}
    assert {name for name, where in rules.items() if where == "here"} == {"lock", "pull", "sign", "verify", "publish"}
    assert len(rules) == 8


def test_the_profile_asks_what_knows_jobs_without_a_database() -> None:
    assert yaml.safe_load((PROFILE / "config.yaml").read_text())["slurm-status-command"] == "squeue"


def test_a_report_can_be_made() -> None:
    """``snakemake --report`` needs pygments, which Snakemake itself does not ask for."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    assert re.search(r"^snakemake = \[.*\"pygments", text, re.MULTILINE)
    subprocess.run([sys.executable, "-c", "import pygments"], check=True)


def has_slurm() -> bool:
    """Whether a cluster answers."""
    if not shutil.which("sbatch"):
        return False
    done = subprocess.run(["sinfo", "-h"], capture_output=True, timeout=30, check=False)
    return done.returncode == 0 and bool(done.stdout.strip())


@pytest.mark.skipif(not has_slurm(), reason="no Slurm cluster answers here")
def test_a_real_cluster_builds_two_images(project: Folder, registry: CountingRegistry) -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="the extra [slurm] is not installed")
    for name in ("a", "b"):
        registry.tags[f"{name}:1"] = registry.blobs.image([tar(file(name, name.encode()))])
        project.images[name] = {"from": f"docker://{registry.host}/{name}:1"}
    project.write()
    (project.root / "Snakefile").write_text(f"include: '{REPOSITORY}/workflow/Snakefile'\n")
    here = str(Path(sys.executable).parent)
    project.environ["SLURM_CONF"] = os.environ.get("SLURM_CONF", "/etc/slurm/slurm.conf")
    project.environ["PATH"] = f"{here}:/usr/sbin:/usr/bin:/sbin:/bin"
    said = project.run("snakemake", "--profile", str(PROFILE), "images")
    assert said.count("has been submitted with SLURM jobid") == 2
    assert project.target("a").exists()
    assert project.target("b").exists()
