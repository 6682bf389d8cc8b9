"""Platforms: the names that people and images use, and which image runs where (rules of Go and containerd)."""

from __future__ import annotations

import os
import re

from sifmake.errors import UsageError
from sifmake.oci.model import Platform

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "x64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "arm64v8": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv5l": ("arm", "v5"),
    "armv5tel": ("arm", "v5"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v7"),
    "arm32v5": ("arm", "v5"),
    "arm32v6": ("arm", "v6"),
    "arm32v7": ("arm", "v7"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "x86": ("386", ""),
    "ppc64el": ("ppc64le", ""),
    "mips64el": ("mips64le", ""),
    "mipsel": ("mipsle", ""),
    "loongarch64": ("loong64", ""),
}
_KNOWN = frozenset(
    {"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le"}
    | {"riscv64", "s390x", "wasm"}
)
_SYSTEMS = frozenset({"aix", "android", "darwin", "freebsd", "illumos", "linux", "netbsd", "openbsd", "windows"})
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
"""The variant of an image that does not name one."""

_VARIANT = re.compile(r"v?([0-9]+)")
_WORD = re.compile(r"[a-z0-9_.-]{1,32}\Z")


def parse_platform(text: str) -> Platform:
    """Return the platform of ``os/arch[/variant]``, ``arch[/variant]`` or a name such as ``x86_64``, normalised.

    Raises:
        UsageError: It names no Linux platform.
    """
    parts = text.strip().lower().split("/")
    if parts[0] not in _SYSTEMS:
        parts.insert(0, "linux")
    system, architecture, variant = [*parts, "", ""][:3]
    platform = _normalise(Platform(system, architecture, variant))
    hint = "write linux/ARCH[/VARIANT], for example linux/amd64 or linux/arm/v7"
    if len(parts) > 3 or not _WORD.match(platform.architecture) or not re.match(r"(v?[0-9.]+)?\Z", variant):
        raise UsageError("not a platform", where=text, hint=hint)
    if system != "linux":
        raise UsageError("SIF files are made from Linux images only", where=text, hint=hint)
    if platform.architecture not in _KNOWN:
        raise UsageError(f"the architecture {architecture!r} is not known", where=text, hint=hint)
    return platform


def host_platform() -> Platform:
    """Return the platform of this machine."""
    return parse_platform(os.uname().machine)


def _normalise(platform: Platform) -> Platform:
    """Return a platform with Go's names, without the default variant, except for arm, which always has one."""
    architecture = platform.architecture.lower()
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = platform.variant.lower() or implied
    if variant.isdigit():
        variant = f"v{variant}"
    if architecture == "arm":
        variant = variant or _DEFAULT_VARIANTS["arm"]
    elif variant == _DEFAULT_VARIANTS.get(architecture):
        variant = ""
    return Platform(platform.os.lower(), architecture, variant)


def rank(offered: Platform, wanted: Platform) -> int | None:
    """Return how well an offered platform serves a wanted one: 0 is exact, larger is worse, None cannot run.

    A lower variant runs on a higher one (arm v5 on v7), never the other way round.
    """
    offered, wanted = _normalise(offered), _normalise(wanted)
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    if offered.variant == wanted.variant:
        return 0
    if offered.architecture not in _DEFAULT_VARIANTS:
        return 1 if not offered.variant or not wanted.variant else None
    have, want = _level(offered), _level(wanted)
    return want - have if 0 < have <= want else None


def is_served_by(config: Platform, wanted: Platform) -> bool:
    """Tell whether an image whose config names this platform can serve the wanted one.

    Configs often lack values that are in the index, so empty members match anything.
    """
    if not config.os and not config.architecture:
        return True
    filled = Platform(config.os or wanted.os, config.architecture or wanted.architecture, config.variant)
    if not config.variant and _normalise(filled).architecture == _normalise(wanted).architecture:
        filled = Platform(filled.os, filled.architecture, wanted.variant)
    return rank(filled, wanted) is not None


def _level(platform: Platform) -> int:
    variant = platform.variant or _DEFAULT_VARIANTS.get(platform.architecture, "")
    match = _VARIANT.match(variant)
    return int(match[1]) if match and len(match[1]) < 4 else 0
