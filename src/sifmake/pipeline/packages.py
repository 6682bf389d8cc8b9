"""Which packages an image holds: dpkg, apk and Python, from the files in which they say so themselves."""

from __future__ import annotations

import re

LARGEST_LIST = 64 << 20
"""Bytes of the largest package list that is read."""

DPKG = b"var/lib/dpkg/status"
DPKG_FOLDER = b"var/lib/dpkg/status.d/"
APK = frozenset({b"lib/apk/db/installed", b"usr/lib/apk/db/installed"})
_PYTHON = re.compile(rb"(?:^|/)([^/]+)\.(?:dist-info/METADATA|egg-info(?:/PKG-INFO)?)$")


def is_package_list(path: bytes) -> bool:
    """Tell whether a file names packages."""
    in_folder = path.startswith(DPKG_FOLDER) and not path.endswith(b".md5sums")
    return path == DPKG or in_folder or path in APK or bool(_PYTHON.search(path))


def read_packages(path: bytes, data: bytes) -> dict[str, str]:
    """Return packages and versions that a file names; keys are like ``deb:libc6`` and ``python:numpy``."""
    text = data.decode("utf-8", "replace")
    if path == DPKG or path.startswith(DPKG_FOLDER):
        return _paragraphs(text, "deb", "Package", "Version", installed_only=path == DPKG)
    if path in APK:
        return _paragraphs(text, "apk", "P", "V", installed_only=False)
    head = text.partition("\n\n")[0]
    fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line and not line.startswith(" "))
    name, version = fields.get("Name", ""), fields.get("Version", "")
    return {f"python:{re.sub(r'[-_.]+', '-', name).lower()}": version} if name and version else {}


def _paragraphs(text: str, kind: str, name_key: str, version_key: str, *, installed_only: bool) -> dict[str, str]:
    found = {}
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in paragraph.splitlines():
            key, colon, value = line.partition(":")
            if colon and not line.startswith((" ", "\t")):
                fields.setdefault(key, value.strip())
        if installed_only and not fields.get("Status", "").endswith(" installed"):
            continue
        if fields.get(name_key) and fields.get(version_key):
            found[f"{kind}:{fields[name_key]}"] = fields[version_key]
    return found
