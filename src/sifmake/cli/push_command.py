"""``sifmake push``: upload a SIF file to a registry, as ``apptainer push`` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import UsageError

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.usage = "sifmake push [options] SIF oras://REGISTRY/NAME[:TAG]"
    parser.add_argument("sif", metavar="SIF", type=Path, help="the file to upload")
    parser.add_argument("uri", metavar="URI", help="where to, oras://REGISTRY/NAME[:TAG]")
    parser.add_argument("--no-https", action="store_true", help="speak plain http to the registry")
    parser.add_argument("--authfile", type=Path, metavar="FILE", help="registry credentials in Docker's form")


def run(args: argparse.Namespace) -> int:
    """Upload the file and print where it is by digest."""
    from sifmake.cli.console import Console
    from sifmake.project.project import Project
    from sifmake.reference import parse_reference, parse_uri
    from sifmake.sif import open_sif
    from sifmake.sources import SourceSettings
    from sifmake.sources.oras import push_sif

    reference = parse_reference(parse_uri(_checked(args.uri)).rest)
    console = Console(quiet=args.quiet)
    options = Project(Path.cwd()).configuration
    settings = SourceSettings(
        limits=options.limits,
        registries=options.registries,
        auth_file=args.authfile or options.auth_file,
        no_https=args.no_https,
        progress=console,
    )
    try:
        with open_sif(args.sif):  # nobody gets a file that was cut off
            digest = push_sif(args.sif, reference, settings)
    finally:
        console.close()
    console.info(f"pushed oras://{reference.familiar}@{digest}")
    return 0


def _checked(uri: str) -> str:
    """Return where to push to; UsageError with the right spelling for anything but ``oras://``."""
    if uri.lower().startswith("oras:"):
        return uri
    head, _, rest = uri.rpartition("://")
    is_place = head in ("", "docker") and "/" in rest and not rest.startswith((".", "/"))
    hint = f"write oras://{rest}" if is_place else "write oras://REGISTRY/NAME:TAG"
    raise UsageError("SIF files are pushed to oras:// only", where=uri, hint=hint)
