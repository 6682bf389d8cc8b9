"""What a pull request may write into sifmake.yaml and images.yaml ends each program with a line, and runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.project import REPOSITORY

if TYPE_CHECKING:
    from support.project import Folder

PROGRAMS = {"doit": ("run", "lock"), "snakemake": ("-n",), "sifmake": ("lock", "--offline")}


def run(project: Folder, program: str) -> str:
    words = PROGRAMS[program]
    if program == "sifmake":
        return project.run("sifmake", *words, status=None)
    return project.doit(*words, status=None) if program == "doit" else project.snakemake(*words, status=None)


@pytest.mark.parametrize("program", list(PROGRAMS))
@pytest.mark.parametrize("name", ["sifmake.yaml", "config/config.yaml", "config/images.yaml"])
def test_aliases_without_an_end_hang_nothing(project: Folder, name: str, program: str) -> None:
    project.images["a"] = {"from": "docker://127.0.0.1:9/a:1"}
    project.write()
    if name == "config/config.yaml":
        (project.root / "sifmake.yaml").unlink()
    (project.root / name).write_text("x: &x [*x]\n")
    said = run(project, program)
    assert f"{name}:1: the alias *x is inside" in said
    assert "Traceback" not in said
    assert "defect" not in said


@pytest.mark.parametrize("name", ["sifmake.yaml", "config/config.yaml"])
def test_a_configuration_is_not_a_program(project: Folder, name: str) -> None:
    """Snakemake hands ``configfile:`` to a template engine, which runs Python out of files with ``__use_yte__``."""
    project.images["a"] = {"from": "docker://127.0.0.1:9/a:1"}
    project.write()
    mark = project.root / "ran"
    code = f"__use_yte__: true\n__definitions__:\n  - open({str(mark)!r}, 'w').close()\n"
    (project.root / "sifmake.yaml").unlink()
    (project.root / name).write_text(code)
    said = project.snakemake("-n", status=None)
    assert ("unknown key '__use_yte__'" in said) == (name == "sifmake.yaml")
    assert not mark.exists()


def test_another_workflows_file_of_that_name_is_not_ours(project: Folder) -> None:
    """As a module with ``config:``, sifmake's workflow does not read the file that lies where Snakemake was started."""
    (project.root / "config").mkdir(parents=True)
    (project.root / "config" / "config.yaml").write_text("when: 2026-01-01\n1: [a]\n")
    inner = project.root / "containers" / "config"
    inner.mkdir(parents=True)
    (inner / "images.yaml").write_text("images: {}\n")
    (project.root / "Snakefile").write_text(
        f"module containers:\n    snakefile: {str(REPOSITORY / 'workflow/Snakefile')!r}\n"
        '    config: {"root": "containers"}\n    prefix: "containers"\n\n'
        "use rule * from containers as containers_*\n\nrule all:\n    default_target: True\n"
    )
    said = project.run("snakemake", "-n", "-c1")
    assert "This was a dry-run" in said
