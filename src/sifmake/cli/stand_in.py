"""What differs when ``sifmake`` runs under the name of Apptainer or SingularityCE: versions, and how errors begin.

Programs that run containers read both: Snakemake and cwltool take the version from ``--version``, nf-core looks for
``FATAL:`` in what ``pull`` prints.
"""

from __future__ import annotations

import sys

from sifmake import __version__

_SPOKEN = {"apptainer": ("apptainer", "1.4.0"), "singularity": ("singularity-ce", "4.1.0")}
"""By the name of the program: what it calls itself, and the version whose words are understood."""


def _stands_in_for() -> str:
    """Return ``apptainer`` or ``singularity`` if this process was started under that name, else nothing."""
    name = sys.argv[0].rpartition("/")[2]
    return name if name in _SPOKEN else ""


def version() -> str:
    """Return the version; ours is a part of it that readers of versions take for a local one (PEP 440)."""
    name = _stands_in_for()
    return f"{_SPOKEN[name][1]}+sifmake.{__version__.replace('+', '.')}" if name else __version__


def version_line() -> str:
    """Return what ``--version`` prints."""
    name = _stands_in_for()
    return f"{_SPOKEN[name][0]} version {version()}" if name else f"sifmake {version()}"


def error_prefix() -> str:
    """Return what stands before an error."""
    return "FATAL:   " if _stands_in_for() else "sifmake: error: "


def main(name: str) -> int:
    """Run the command line under another name; this is what the programs that ``sifmake shim`` writes call."""
    from sifmake.cli.main import main as run

    sys.argv[0] = name
    return run()
