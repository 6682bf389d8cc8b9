"""``sifmake lint``: find mistakes in definition files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli.subcommands import examples
from sifmake.printing import print_json, print_lines

if TYPE_CHECKING:
    import argparse

    from sifmake.definition.lint import LintFinding

_STATUS = {"warning": 1, "error": 2}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="definition file")
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="value of a variable; may be repeated"
    )
    parser.add_argument("--build-arg-file", type=Path, metavar="FILE", help="file with NAME=VALUE lines")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    parser.description = (
        "Find mistakes in definition files: errors that stop a build, and warnings. "
        "The exit status is 0 if nothing is found, 1 for warnings, 2 for errors."
    )
    parser.epilog = examples("sifmake lint tool.def", "sifmake lint --json *.def")


def run(args: argparse.Namespace) -> int:
    """Print the findings; return the exit status."""
    from sifmake.api.definitions import lint
    from sifmake.cli.console import Console
    from sifmake.definition import read_build_arguments

    arguments = read_build_arguments(args.build_arg, args.build_arg_file, warn=Console().warning)
    found = {str(path): lint(path, arguments) for path in args.files}
    if args.json:
        print_json([{"file": name, "findings": [asdict(item) for item in items]} for name, items in found.items()])
    else:
        print_lines(_line(name, item) for name, items in found.items() for item in items)
    return max((_STATUS[item.severity] for items in found.values() for item in items), default=0)


def _line(name: str, finding: LintFinding) -> str:
    where = f"{name}:{finding.line}" if finding.line else name
    section = f"%{finding.section}: " if finding.section else ""
    hint = f"; {finding.hint}" if finding.hint else ""
    return f"{where}: {finding.severity}: {section}{finding.text}{hint} [{finding.rule}]"
