"""Paths in a store: folders and file names, made from digests and keys."""

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
STEPS = "steps"
SCRATCH, LOCKS, STAMP = "tmp", "locks", ".swept"
UNPROVEN = ".unproven"
"""Name of a file in a scratch folder; not a key, because others can rename the folder to one with packs."""
KINDS = {
    BLOBS: "blob",
    INDEXES: "index",
    PACKS: "pack",
    PATCHES: "patch",
    SIFS: "container",
    NAMES: "name",
    STEPS: "step",
}
"""Folders of finished files, and the kind of files in each."""

_DIGEST = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{2,199}\Z")
_SIF_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._+-]{2,199})\.([0-9a-f]{64})\.sif\Z")


def is_key(text: str) -> bool:
    """Whether a text can be a key, and so the name of a file."""
    return _KEY.match(text) is not None


def is_digest(text: str) -> bool:
    """Whether a text is a digest of a kind that the store uses."""
    return _DIGEST.match(text) is not None


class Spot(NamedTuple):
    """The place of a file in a store.

    Attributes:
        folders: Names of its folders, the outermost first.
        name: Its name.
    """

    folders: tuple[str, ...]
    name: str

    def under(self, root: Path) -> Path:
        """Return the path for messages."""
        return root.joinpath(*self.folders, self.name)


def blob_spot(digest: str) -> Spot:
    """Return the place of a blob; StoreError if the digest is not valid."""
    check_digest_form(digest)
    algorithm, _, name = digest.partition(":")
    return Spot((BLOBS, algorithm, name[:2]), name)


def index_spot(digest: str, platform: Platform) -> Spot:
    """Return the place of the note on an index and a platform; StoreError if the digest is not valid."""
    check_digest_form(digest)
    name = digest.partition(":")[2]
    return Spot((INDEXES, name[:2]), f"{name}-{quote(str(platform), safe='')}")


def key_spot(kind: str, key: str) -> Spot:
    """Return the place of the file of a key; StoreError if the key cannot be a file name."""
    if not is_key(key):
        raise StoreError("the key cannot be a file name", where=key)
    return Spot((kind, key[:2]), key)


def name_spot(name: str) -> Spot:
    """Return the place of the note on which finished SIF a name points to."""
    return key_spot(NAMES, hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest())


def split_sif_name(name: str) -> tuple[str, str]:
    """Return key and SHA-256 of a finished SIF from its file name; empty if it is not such a name."""
    match = _SIF_NAME.match(name)
    return (match[1], match[2]) if match else ("", "")


def name_note(name: str, key: str) -> bytes:
    """Return the content of the note of a name; it contains the note's file name, because others may rename it."""
    return f"{key}\n{name_spot(name).name}\n".encode()


def name_target(data: bytes, name: str | None = None) -> str:
    """Return the key in the note of a name; empty if the note is damaged.

    Args:
        data: The content.
        name: The name that it must be about; None for any.
    """
    text = data.decode("ascii", "replace").partition("\n")[0]
    return text if is_key(text) and (name is None or data == name_note(name, text)) else ""


def check_digest_form(digest: str) -> None:
    """Check that a text is a digest; StoreError if not."""
    if not is_digest(digest):
        raise StoreError("not a digest", where=digest, hint="write sha256: and 64 hex digits")


def has_digest(data: bytes, digest: str) -> bool:
    """Whether data has a digest."""
    algorithm, _, name = digest.partition(":")
    return hashlib.new(algorithm, data).hexdigest() == name
