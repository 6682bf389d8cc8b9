"""Write images into an OCI layout in a folder (image-layout.md), beside those that are there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO

from sifmake.errors import OutputPathError
from sifmake.files import atomic_write, read_regular
from sifmake.json_text import BeyondLimitError, parse_json
from sifmake.oci.digest import digest_bytes
from sifmake.oci.media_types import OCI_INDEX
from sifmake.ranges import copy_some
from sifmake.temporaries import TEMP_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.limits import Limits
    from sifmake.oci.given_back import NewManifest
    from sifmake.oci.model import Platform

_MARK = b'{"imageLayoutVersion":"1.0.0"}'
_REF_NAME = "org.opencontainers.image.ref.name"
_PARTS_BEFORE_THE_INDEX = frozenset({"blobs", "oci-layout"})
"""What a new layout has before its first image is complete, and what a killed run leaves."""
_PIECE = 16 << 20


class LayoutWriter:
    """Writes one image into a layout, which is made if it does not exist.

    Attributes:
        name: The layout and the tag, for messages.
    """

    def __init__(self, folder: Path, tag: str, platform: Platform, limits: Limits) -> None:
        """Look at the folder; nothing is written yet.

        Args:
            folder: The folder of the layout.
            tag: Name of the image in it; empty for none. An image with the same name loses it.
            platform: The image's platform, for the index.
            limits: ``manifest_bytes`` bounds the index.

        Raises:
            OutputPathError: There is something else at this path, or the layout is damaged.
            OSError: It cannot be read.
        """
        self.name = f"oci:{folder}:{tag}" if tag else f"oci:{folder}"
        self._folder = folder
        self._tag = tag
        self._platform = platform
        self._limits = limits
        self._index()

    def has_blob(self, digest: str, size: int) -> bool:
        """Tell whether the layout has a blob of this name and size."""
        try:
            return self._blob(digest).stat().st_size == size
        except OSError:
            return False

    def put_blob(self, digest: str, size: int, file: BinaryIO) -> None:
        """Copy a blob from an open file.

        Raises:
            OSError: It cannot be written.
        """
        with atomic_write(self._blob(digest)) as target:
            at = 0
            while at < size and (copied := copy_some(file.fileno(), at, target.fileno(), at, min(_PIECE, size - at))):
                at += copied

    def put_config(self, digest: str, data: bytes) -> None:
        """Write the config.

        Raises:
            OSError: It cannot be written.
        """
        self._put(digest, data)

    def put_manifest(self, manifest: NewManifest) -> str:
        """Write the manifest, then the index that names it; return its digest.

        Raises:
            OutputPathError: The index was damaged meanwhile.
            OSError: It cannot be written.
        """
        digest = digest_bytes(manifest.data)
        self._put(digest, manifest.data)
        index = self._index()
        named = {_REF_NAME: self._tag} if self._tag else {}
        entry = {"mediaType": manifest.media_type, "digest": digest, "size": len(manifest.data)}
        entry |= {"platform": _members(self._platform)} | ({"annotations": named} if named else {})
        index["manifests"] = [*(old for old in index["manifests"] if not self._is_replaced(old, digest)), entry]
        with atomic_write(self._folder / "oci-layout") as file:
            file.write(_MARK)
        with atomic_write(self._folder / "index.json") as file:
            file.write(json.dumps(index, ensure_ascii=False, separators=(",", ":")).encode())
        return digest

    def _is_replaced(self, entry: dict[str, Any], digest: str) -> bool:
        """Tell whether an entry has the same name, or names the same image by no name."""
        annotations = entry.get("annotations")
        tag = annotations.get(_REF_NAME, "") if isinstance(annotations, dict) else ""
        return tag == self._tag if tag else entry.get("digest") == digest

    def _index(self) -> dict[str, Any]:
        """Return the index of the layout; an empty one if there is none yet."""
        try:
            names = {path.name for path in self._folder.iterdir() if not path.name.startswith(TEMP_PREFIX)}
        except FileNotFoundError:
            names = set()
        except NotADirectoryError:
            raise OutputPathError("this is not a folder", where=self.name, hint="name another folder") from None
        if names <= _PARTS_BEFORE_THE_INDEX:
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        try:
            index = parse_json(read_regular(self._folder / "index.json", self._limits.manifest_bytes))
        except (FileNotFoundError, ValueError, BeyondLimitError):
            index = None
        entries = index.get("manifests") if isinstance(index, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            hint = "name a layout, an empty folder or a new one"
            raise OutputPathError("this folder is not an OCI layout", where=self.name, hint=hint)
        return dict(index)

    def _put(self, digest: str, data: bytes) -> None:
        with atomic_write(self._blob(digest)) as file:
            file.write(data)

    def _blob(self, digest: str) -> Path:
        algorithm, _, name = digest.partition(":")
        return self._folder / "blobs" / algorithm / name


def _members(platform: Platform) -> dict[str, str]:
    members = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
    return {key: value for key, value in members.items() if value}
