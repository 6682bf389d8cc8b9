"""Files of this machine for a realistic image: those of installed packages, and others if these are too few."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scale import Scale

PACKAGE_LISTS = Path("/var/lib/dpkg/info")
LARGEST_PACKAGE = 50_000_000
FILL = (sys.base_prefix, "/usr/local", "/usr/lib", "/usr/share", "/opt")


def choose(scale: Scale) -> list[list[str]]:
    """Return groups of absolute paths of regular files and symlinks, as many as the scale needs.

    Raises:
        SystemExit: This machine has too few files.
    """
    chosen: list[list[str]] = []
    seen: set[str] = set()
    content = files = 0
    for group in _groups():
        fresh = [path for path in group if path not in seen]
        sizes = [status.st_size for path in fresh if stat.S_ISREG((status := os.lstat(path)).st_mode)]
        if sum(sizes) > LARGEST_PACKAGE:
            continue
        seen.update(fresh)
        chosen.append(fresh)
        content += sum(sizes)
        files += len(sizes)
        if content >= scale.content and files >= scale.files:
            return chosen
    raise SystemExit(f"this machine has {files} files with {content} bytes for an image: too few; use --quick")


def of_packages(names: tuple[str, ...]) -> list[str]:
    """Return absolute paths of the regular files and symlinks in those of these Debian packages that are installed."""
    listings = [path for name in names for path in PACKAGE_LISTS.glob(f"{name}*.list") if _names(path) == name]
    return sorted({path for listing in listings for path in _usable(listing.read_text().splitlines())})


def _names(listing: Path) -> str:
    """Return the package to which a list belongs: ``NAME.list`` or ``NAME:ARCHITECTURE.list``."""
    return listing.name.removesuffix(".list").partition(":")[0]


def _groups() -> Iterator[list[str]]:
    for listing in sorted(PACKAGE_LISTS.glob("*.list")):
        yield _usable(listing.read_text().splitlines())
    for top in FILL:
        for folder, _, names in os.walk(top):
            yield _usable(os.path.join(folder, name) for name in names)  # noqa: PTH118  # thousands of them


def _usable(paths: Iterator[str] | list[str]) -> list[str]:
    """Return the readable files, with symlinks in their folders resolved."""
    usable = []
    for path in paths:
        real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))  # noqa: PTH118, PTH120, PTH119
        try:
            mode = os.lstat(real).st_mode
        except OSError:
            continue
        if stat.S_ISLNK(mode) or (stat.S_ISREG(mode) and os.access(real, os.R_OK)):
            usable.append(real)
    return usable
