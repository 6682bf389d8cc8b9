"""Real programs that look for Apptainer or SingularityCE, and find what ``sifmake shim`` wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.stand_in import needs_containers, only, shell_image, write_shim

if TYPE_CHECKING:
    from support.counting_registry import CountingRegistry

CWLTOOL = os.environ.get("SIFMAKE_CWLTOOL") or shutil.which("cwltool") or ""
NEXTFLOW = os.environ.get("SIFMAKE_NEXTFLOW_JARS", "")
"""A folder with Nextflow's jars and what they need, from Maven Central (see tests/README.md)."""


@pytest.fixture
def variables(registry: CountingRegistry, tmp_path: Path) -> dict[str, str]:
    """An environment in which the stand-ins come first on PATH, and which speaks http to the test's registry."""
    registry.tags["app:1"] = shell_image(registry.blobs)
    shim = write_shim(tmp_path / "shim")
    values = {"PATH": f"{shim}:{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    return only(**values, APPTAINER_NOHTTPS="1", SINGULARITY_NOHTTPS="1")


def run(words: list[str], cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_containers
def test_snakemake_pulls_and_runs(registry: CountingRegistry, variables: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(f"""
rule greet:
    output: "greeting.txt"
    container: "docker://{registry.host}/app:1"
    shell: "cat /etc/name > {{output}}"
""")
    words = [sys.executable, "-m", "snakemake", "--sdm", "apptainer", "--cores", "1"]
    said = run([*words, "--quiet", "all"], tmp_path, variables)
    assert (tmp_path / "greeting.txt").read_text() == "the image\n", said
    assert len(list((tmp_path / ".snakemake/singularity").glob("*.simg"))) == 1


@needs_containers
@pytest.mark.skipif(not CWLTOOL, reason="cwltool is not on PATH; SIFMAKE_CWLTOOL can name it")
def test_cwltool_pulls_and_runs(registry: CountingRegistry, variables: dict[str, str], tmp_path: Path) -> None:
    tool = {
        "cwlVersion": "v1.2",
        "class": "CommandLineTool",
        "requirements": {"DockerRequirement": {"dockerPull": f"docker://{registry.host}/app:1"}},
        "baseCommand": ["cat", "/etc/name"],
        "inputs": [],
        "outputs": {"said": {"type": "stdout"}},
        "stdout": "said.txt",
    }
    (tmp_path / "tool.cwl").write_text(json.dumps(tool))
    said = run([CWLTOOL, "--singularity", "--outdir", "out", "tool.cwl"], tmp_path, variables)
    assert (tmp_path / "out/said.txt").read_text() == "the image\n", said


@needs_containers
@pytest.mark.skipif(
    not (NEXTFLOW and shutil.which("java")), reason="SIFMAKE_NEXTFLOW_JARS names no folder, or java is missing"
)
@pytest.mark.parametrize(
    "settings",
    ["apptainer.enabled = true", "singularity.enabled = true", "singularity { enabled = true; ociAutoPull = true }"],
)
def test_nextflow_pulls_and_runs(
    registry: CountingRegistry, variables: dict[str, str], tmp_path: Path, settings: str
) -> None:
    scope = settings.split("{", maxsplit=1)[0].split(".", maxsplit=1)[0].strip()
    (tmp_path / "nextflow.config").write_text(
        f"{settings}\n{scope}.noHttps = true\nprocess.container = 'docker://{registry.host}/app:1'\n"
    )
    (tmp_path / "main.nf").write_text(
        "process greet {\n  output:\n  stdout\n  script:\n  'cat /etc/name'\n}\nworkflow { greet() | view }\n"
    )
    words = ["java", "-cp", f"{NEXTFLOW}/*", "nextflow.cli.Launcher", "run", "main.nf"]
    env = variables | {"NXF_OFFLINE": "true", "NXF_HOME": str(tmp_path / "nxf"), "NXF_DISABLE_CHECK_LATEST": "true"}
    assert "the image" in run(words, tmp_path, env)
