"""What differs if ``sifmake`` runs under the name of Apptainer or SingularityCE: versions and the prefix of errors.

Programs that run containers read both: Snakemake and cwltool take the version from ``--version``, nf-core looks for
``FATAL:`` in what ``pull`` prints.
"""

from __future__ import annotations

import sys

from sifmake import __version__

_SPOKEN = {"apptainer": ("apptainer", "1.4.0"), "singularity": ("singularity-ce", "4.1.0")}
"""For each program name: how the program calls itself, and the version whose options sifmake understands."""


def _stands_in_for() -> str:
    """Return ``apptainer`` or ``singularity`` if this process was started under that name, else an empty string."""
    name = sys.argv[0].rpartition("/")[2]
    return name if name in _SPOKEN else ""


def stands_in() -> bool:
    """Tell whether this process was started under the name of a peer."""
    return bool(_stands_in_for())


def version() -> str:
    """Return the peer's version with sifmake's as a local part, which version parsers accept (PEP 440)."""
    name = _stands_in_for()
    return f"{_SPOKEN[name][1]}+sifmake.{__version__.replace('+', '.')}" if name else __version__


def version_line() -> str:
    """Return what ``--version`` prints."""
    name = _stands_in_for()
    return f"{_SPOKEN[name][0]} version {version()}" if name else f"sifmake {version()}"


def error_prefix() -> str:
    """Return the prefix of error messages."""
    return "FATAL:   " if _stands_in_for() else "sifmake: error: "


def main(name: str) -> int:
    """Run the command line under another name; called by the programs that ``sifmake shim`` writes."""
    from sifmake.cli.main import main as run

    sys.argv[0] = name
    return run()
