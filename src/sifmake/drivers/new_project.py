"""Starting a project: write the few files that doit, Snakemake and sifmake need.

If the folder is already a Snakemake pipeline, its files are kept: the images go into a folder ``containers`` inside it,
which the pipeline includes as a module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

_INNER = "containers"
_SNAKEFILES = ("Snakefile", "workflow/Snakefile")
"""Paths at which Snakemake looks for the pipeline of a folder."""

_SETTINGS = """\
# Settings of sifmake for this project. `key` names what signs the images:
#
#     sifmake key newpair mine          # then write below: key: mine
#     mkdir -p config/keys
#     sifmake key export mine config/keys/mine.pem
"""
_IMAGES = """\
# The images of this project; each becomes images/NAME.sif. For example:
#
#     images:
#       alpine:
#         from: docker://alpine:3.20
#       python:
#         from: docker://python
#         tags: ["3.12-slim", "3.13-slim"]
#       tool:
#         from: ./tool.def              # a definition file; its paths start here, too
#
# Then build them: doit pull_image, or snakemake images. Commit the files in config/locks.
images: {}
"""
_DODO = '''\
"""Builds the images of config/images.yaml: `doit pull_image`; `doit list` shows all tasks."""

from sifmake.doit import *  # noqa: F403
'''
_SNAKEFILE = """\
# Builds the images of config/images.yaml: `snakemake images`.
from sifmake.snakemake import SNAKEFILE


include: SNAKEFILE
"""
_IGNORED = """\
/images/
/results/
/logs/
.snakemake/
.doit.db*
__pycache__/
"""
_MODULE = f"""\
module {_INNER}:
    snakefile: "{{up}}{_INNER}/Snakefile"
    config: {{{{"root": "{_INNER}"}}}}
    prefix: "{_INNER}"

use rule * from {_INNER} as {_INNER}_*
"""


@dataclass(frozen=True)
class NewProject:
    """What :func:`start_project` did.

    Attributes:
        root: The project's folder: the given folder, or ``containers`` inside it.
        written: The new files.
        kept: Existing files, which were left unchanged.
        snippet: Lines to add to an existing Snakefile to use the images; empty if there is no Snakefile.
    """

    root: Path
    written: tuple[Path, ...]
    kept: tuple[Path, ...]
    snippet: str


def start_project(folder: Path) -> NewProject:
    """Write the files of a new project; existing files are not changed.

    Args:
        folder: Created if it does not exist.

    Raises:
        OSError: A file cannot be written.
    """
    pipeline = next((name for name in _SNAKEFILES if (folder / name).exists()), "")
    nested = bool(pipeline) and not (folder / "sifmake.yaml").exists()
    root = folder / _INNER if nested else folder
    is_new = {root / name: _write_new(root / name, text) for name, text in _files(profile=not nested).items()}
    # A path in a Snakefile is relative to the folder of that Snakefile.
    snippet = _MODULE.format(up="../" * pipeline.count("/")) if nested else ""
    written = tuple(path for path, new in is_new.items() if new)
    return NewProject(root, written, tuple(path for path in is_new if path not in written), snippet)


def _files(*, profile: bool) -> dict[str, str]:
    from pathlib import Path

    from sifmake.snakemake import PROFILES

    files = {
        "sifmake.yaml": _SETTINGS,
        "config/images.yaml": _IMAGES,
        "dodo.py": _DODO,
        "Snakefile": _SNAKEFILE,
        ".gitignore": _IGNORED,
    }
    if profile:  # an existing pipeline has its own profile
        files["profiles/default/config.yaml"] = Path(PROFILES, "default", "config.yaml").read_text()
    return files


def _write_new(path: Path, text: str) -> bool:
    # A partly written file would be kept as the user's file next time, so write it in one step.
    if path.exists() or path.is_symlink():
        return False
    write_atomic(path, text.encode())
    return True
