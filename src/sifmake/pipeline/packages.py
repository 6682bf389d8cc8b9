"""Which packages an image holds: dpkg, apk and Python, from the files in which they say so themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sifmake.errors import SquashfsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.limits import Limits

DPKG = b"var/lib/dpkg/status"
DPKG_FOLDER = b"var/lib/dpkg/status.d/"
APK = frozenset({b"lib/apk/db/installed", b"usr/lib/apk/db/installed"})
LONGEST_FIELD = 1024
"""Bytes of a name or version that are kept."""
_PYTHON = re.compile(rb"(?:^|/)([^/]+)\.(?:dist-info/METADATA|egg-info(?:/PKG-INFO)?)$")
_SEPARATORS = re.compile(r"[-_.]+")


class PackageLists:
    """Collects the packages of one image.

    Attributes:
        found: Versions; keys are like ``deb:libc6`` and ``python:numpy``.
    """

    def __init__(self, limits: Limits, image: str) -> None:
        """Begin with none.

        Args:
            limits: ``package_list_bytes`` and ``packages`` apply to all lists together.
            image: What errors call the image.
        """
        self._image = image
        self.found: dict[str, str] = {}
        self._limits = limits
        self._left = limits.package_list_bytes
        self._packages = limits.packages

    def count(self, size: int) -> None:
        """Count the bytes of a list that is going to be read.

        Raises:
            SquashfsError: There are more than the limit.
        """
        self._left -= size
        if self._left < 0:
            what = f"its package lists come to more than {self._limits.package_list_bytes} bytes (a limit)"
            raise SquashfsError(
                what, where=self._image, hint="raise limits.package-list-bytes in sifmake.yaml if you trust it"
            )

    def read(self, path: bytes, data: bytes) -> None:
        """Take the packages that a file names.

        Raises:
            SquashfsError: There are more packages than the limit, installed or not.
        """
        for name, version in read_packages(path, data):
            self._packages -= 1
            if self._packages < 0:
                what = f"its package lists name more than {self._limits.packages} packages (a limit)"
                hint = "raise limits.packages in sifmake.yaml if you trust the image"
                raise SquashfsError(what, where=self._image, hint=hint)
            if name and version:
                self.found[name] = version


def is_package_list(path: bytes) -> bool:
    """Tell whether a file names packages."""
    in_folder = path.startswith(DPKG_FOLDER) and not path.endswith(b".md5sums")
    return path == DPKG or in_folder or path in APK or bool(_PYTHON.search(path))


def read_packages(path: bytes, data: bytes) -> Iterator[tuple[str, str]]:
    """Yield packages and versions that a file names; both are empty for one that is not installed or damaged."""
    if path == DPKG:
        yield from _paragraphs(data, "deb", b"Package", b"Version", status=b"Status")
    elif path.startswith(DPKG_FOLDER):
        yield from _paragraphs(data, "deb", b"Package", b"Version")
    elif path in APK:
        yield from _paragraphs(data, "apk", b"P", b"V")
    else:
        head = data.partition(b"\n\n")[0]
        name, version = _field(head, b"Name"), _field(head, b"Version")
        yield (f"python:{_SEPARATORS.sub('-', name).lower()}", version) if name else ("", "")


def _paragraphs(
    data: bytes, kind: str, name_key: bytes, version_key: bytes, *, status: bytes = b""
) -> Iterator[tuple[str, str]]:
    """Yield what the paragraphs that name a package say; others, of which there may be millions, cost nothing."""
    data = b"\n" + data
    key, end = b"\n" + name_key + b":", 0
    while (at := data.find(key, end)) >= 0:
        start = max(data.rfind(b"\n\n", end, at + 1), end)
        end = data.find(b"\n\n", at + 1)
        end = len(data) if end < 0 else end + 1
        paragraph = data[start:end]
        name, version = _field(paragraph, name_key), _field(paragraph, version_key)
        installed = not status or _field(paragraph, status).endswith(" installed")
        yield (f"{kind}:{name}", version) if name and installed else ("", "")


def _field(paragraph: bytes, key: bytes) -> str:
    """Return the first field of a key, nothing where there is none."""
    at = 0 if paragraph.startswith(key + b":") else paragraph.find(b"\n" + key + b":") + 1
    if not at and not paragraph.startswith(key + b":"):
        return ""
    start = at + len(key) + 1
    end = paragraph.find(b"\n", start)
    line = paragraph[start : end if end >= 0 else len(paragraph)]
    return line[:LONGEST_FIELD].decode("utf-8", "replace").strip()
