"""Where things stand in a store: folders, file names, and the digests and keys that they are made of."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from sifmake.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.oci.model import Platform

BLOBS, PACKS, PATCHES, SIFS, INDEXES, NAMES = "blobs", "packs", "patches", "sif", "indexes", "names"
SCRATCH, LOCKS, STAMP = "tmp", "locks", ".swept"
KINDS = {BLOBS: "blob", INDEXES: "index", PACKS: "pack", PATCHES: "patch", SIFS: "container", NAMES: "name"}
"""Folders of finished files and what their files are called."""

_DIGEST = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{2,199}\Z")
_SIF_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._+-]{2,199})\.([0-9a-f]{64})\.sif\Z")


def is_key(text: str) -> bool:
    """Whether a text can be a key, and so the name of a file."""
    return _KEY.match(text) is not None


def is_digest(text: str) -> bool:
    """Whether a text is a digest in one of the forms that the store keeps."""
    return _DIGEST.match(text) is not None


class Spot(NamedTuple):
    """Where a file stands in a store.

    Attributes:
        folders: Names of the folders that lead to it, the outermost first.
        name: Its own.
    """

    folders: tuple[str, ...]
    name: str

    def under(self, root: Path) -> Path:
        """Return the path that messages give."""
        return root.joinpath(*self.folders, self.name)


def blob_spot(digest: str) -> Spot:
    """Return where a blob stands; StoreError if that is no digest."""
    check_digest_form(digest)
    algorithm, _, name = digest.partition(":")
    return Spot((BLOBS, algorithm, name[:2]), name)


def index_spot(digest: str, platform: Platform) -> Spot:
    """Return where it stands which manifest an index gives for a platform; StoreError if that is no digest."""
    check_digest_form(digest)
    name = digest.partition(":")[2]
    return Spot((INDEXES, name[:2]), f"{name}-{quote(str(platform), safe='')}")


def key_spot(kind: str, key: str) -> Spot:
    """Return where the file of a key stands; StoreError if it cannot name one."""
    if not is_key(key):
        raise StoreError("the key is no file name", where=key)
    return Spot((kind, key[:2]), key)


def name_spot(name: str) -> Spot:
    """Return where it stands which finished SIF a name means."""
    return key_spot(NAMES, hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest())


def split_sif_name(name: str) -> tuple[str, str]:
    """Return key and SHA-256 of a finished SIF from its file's name; nothing where it has no such name."""
    match = _SIF_NAME.match(name)
    return (match[1], match[2]) if match else ("", "")


def name_note(name: str, key: str) -> bytes:
    """Return the content of the file of a name: with the file's own name, for others may rename it."""
    return f"{key}\n{name_spot(name).name}\n".encode()


def name_target(data: bytes, name: str | None = None) -> str:
    """Return the key that the file of a name holds; empty where it is damaged.

    Args:
        data: The content.
        name: Which name it has to be of; None for any.
    """
    text = data.decode("ascii", "replace").partition("\n")[0]
    return text if is_key(text) and (name is None or data == name_note(name, text)) else ""


def check_digest_form(digest: str) -> None:
    """Check that a text is a digest; StoreError if not."""
    if not is_digest(digest):
        raise StoreError("this is no digest", where=digest, hint="digests look like sha256:<64 hex digits>")


def has_digest(data: bytes, digest: str) -> bool:
    """Whether data has a digest."""
    algorithm, _, name = digest.partition(":")
    return hashlib.new(algorithm, data).hexdigest() == name
