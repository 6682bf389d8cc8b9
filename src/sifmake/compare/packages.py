"""The installed packages of an image, from the package lists of dpkg, apk and Python."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import SquashfsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.limits import Limits

DPKG = b"var/lib/dpkg/status"
_DPKG_FOLDER = b"var/lib/dpkg/status.d/"
_APK = frozenset({b"lib/apk/db/installed", b"usr/lib/apk/db/installed"})
_LONGEST_FIELD = 1024
"""Most bytes of a name or version to keep."""
_ENTRY = 100
"""Bytes that a package takes in a dictionary, in addition to its name and version."""
_PYTHON = re.compile(rb"(?:^|/)([^/]+)\.(?:dist-info/METADATA|egg-info(?:/PKG-INFO)?)$")
_SEPARATORS = re.compile(r"[-_.]+")


class PackageLists:
    """Collects the packages of one image.

    Attributes:
        found: Versions by keys such as ``deb:libc6`` and ``python:numpy``.
    """

    def __init__(self, limits: Limits, image: str) -> None:
        """Start with no packages.

        Args:
            limits: Provides ``package_list_bytes`` and ``packages``, which apply to all lists together.
            image: Name of the image for error messages.
        """
        self._image = image
        self.found: dict[str, str] = {}
        self._limits = limits
        self._left = self._kept = limits.package_list_bytes
        self._packages = limits.packages

    def count(self, size: int) -> None:
        """Count the bytes of a list before it is read.

        Raises:
            SquashfsError: They exceed the limit.
        """
        self._left -= size
        self._check(self._left)

    def _check(self, left: int) -> None:
        if left < 0:
            what = f"its package lists have more than {self._limits.package_list_bytes} bytes (a limit)"
            raise SquashfsError(
                what, where=self._image, hint="raise limits.package-list-bytes in sifmake.yaml if you trust the image"
            )

    def read(self, path: bytes, data: bytes | bytearray) -> None:
        """Add the packages in a package list.

        Raises:
            SquashfsError: There are more packages than the limit, installed or not.
        """
        for name, version in _read_packages(path, data):
            self._packages -= 1
            if self._packages < 0:
                what = f"its package lists name more than {self._limits.packages} packages (a limit)"
                hint = "raise limits.packages in sifmake.yaml if you trust the image"
                raise SquashfsError(what, where=self._image, hint=hint)
            if name and version:
                self._kept -= sys.getsizeof(name) + sys.getsizeof(version) + _ENTRY
                self._check(self._kept)
                self.found[name] = version


def is_package_list(path: bytes) -> bool:
    """Tell whether a file is a package list."""
    in_folder = path.startswith(_DPKG_FOLDER) and not path.endswith(b".md5sums")
    return path == DPKG or in_folder or path in _APK or bool(_PYTHON.search(path))


def _read_packages(path: bytes, data: bytes | bytearray) -> Iterator[tuple[str, str]]:
    """Yield packages and versions of a package list; both are empty for an entry that is not installed or damaged."""
    if path == DPKG:
        yield from _paragraphs(data, "deb", b"Package", b"Version", status=b"Status")
    elif path.startswith(_DPKG_FOLDER):
        yield from _paragraphs(data, "deb", b"Package", b"Version")
    elif path in _APK:
        yield from _paragraphs(data, "apk", b"P", b"V")
    else:
        head = _Part(data, 0, _end(data, 0))
        name, version = head.field(b"Name"), head.field(b"Version")
        yield (f"python:{_SEPARATORS.sub('-', name).lower()}", version) if name else ("", "")


def _paragraphs(
    data: bytes | bytearray, kind: str, name_key: bytes, version_key: bytes, *, status: bytes = b""
) -> Iterator[tuple[str, str]]:
    """Yield the paragraphs that name a package; others, of which there may be millions, are skipped cheaply."""
    key, end = b"\n" + name_key + b":", 0
    at = 0 if data.startswith(key[1:]) else data.find(key)
    while at >= 0:
        start = max(data.rfind(b"\n\n", end, at + 1), end)
        end = _end(data, at + 1)
        paragraph = _Part(data, start, end)
        name, version = paragraph.field(name_key), paragraph.field(version_key)
        installed = not status or paragraph.field(status).endswith(" installed")
        yield (f"{kind}:{name}", version) if name and installed else ("", "")
        at = data.find(key, end)


def _end(data: bytes | bytearray, start: int) -> int:
    """Return the end of the last line of a paragraph, including its newline."""
    end = data.find(b"\n\n", start)
    return len(data) if end < 0 else end + 1


class _Part(NamedTuple):
    """A part of a list; it is not copied, because it may be as long as the list."""

    data: bytes | bytearray
    start: int
    end: int

    def field(self, key: bytes) -> str:
        """Return the first field with a key; empty if there is none."""
        data, start, end = self
        at = start
        if not data.startswith(key + b":", start, end):
            at = data.find(b"\n" + key + b":", start, end) + 1
            if not at:
                return ""
        at += len(key) + 1
        stop = data.find(b"\n", at, end)
        line = data[at : min(end if stop < 0 else stop, at + _LONGEST_FIELD)]
        return line.decode("utf-8", "replace").strip()
