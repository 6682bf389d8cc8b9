"""Golden images as SIF files of our own making."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.builder.pull import PullRequest, pull
from sifmake.oci.model import Platform
from sifmake.progress import Silent
from support import golden

if TYPE_CHECKING:
    from pathlib import Path


def build_golden_sif(name: str, folder: Path) -> Path:
    """Build the SIF of a golden image in a folder, through an OCI layout; an existing one is returned."""
    sif = folder / f"{name}.sif"
    if not sif.exists():
        layout = golden.write_one_image_layout(name, folder / "oci" / name)
        platform = Platform("linux", "arm64" if name == "arm64-only" else "amd64", "")
        pull(PullRequest(f"oci:{layout}", sif, platform), Silent())
    return sif
