"""Profiles of files to leave out of a step's layer: caches, logs and lists that differ in every build."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_LDCONFIG = "var/cache/ldconfig/aux-cache"
_PROFILES = {
    "apt": (
        "var/cache/apt/*.bin",
        "var/cache/apt/archives/*.deb",
        "var/lib/apt/lists/*",
        "var/log/apt/*",
        "var/log/dpkg.log",
        "var/log/alternatives.log",
        "var/cache/debconf/*-old",
        "var/lib/dpkg/*-old",
        _LDCONFIG,
    ),
    "dnf": (
        "var/cache/dnf/*",
        "var/cache/yum/*",
        "var/lib/dnf/history.sqlite*",
        "var/log/dnf*.log",
        "var/log/hawkey.log",
        "var/log/yum.log",
        _LDCONFIG,
    ),
    "conda": ("*/pkgs/*.conda", "*/pkgs/*.tar.bz2", "*/pkgs/cache/*", "root/.conda", "root/.cache/mamba"),
    "pip": ("root/.cache/pip", "*/__pycache__"),
}
"""Patterns of fnmatch for paths without leading slash; a folder is left out with its content."""


def clean_patterns(names: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of profiles, sorted.

    Raises:
        UsageError: There is no profile with that name.
    """
    found: set[str] = set()
    for name in names:
        if name not in _PROFILES:
            raise UsageError(f"there is no profile {name!r} to clean", hint=f"one of {', '.join(_PROFILES)}")
        found |= set(_PROFILES[name])
    return tuple(sorted(found))
