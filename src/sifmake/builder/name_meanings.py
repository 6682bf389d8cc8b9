"""Notes on which image each name pointed to at the last check, for offline runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sifmake.oci.model import Platform
    from sifmake.reference import Uri
    from sifmake.store import Store

_SHA256_DIGITS = 64


def sif_key(digest: str) -> str:
    """Return the store's key of the SIF file that this version of the stages makes from an image.

    Its blocks are gzip or fast, which every kernel reads as gzip.

    Args:
        digest: Digest of the image's manifest, or another text that identifies the file.
    """
    from sifmake.formats import format_versions

    versions = "-".join(str(number) for _name, number in sorted(format_versions().items()))
    return f"{digest.partition(':')[2]}-gzip-{versions}"


def digest_of_key(key: str) -> str:
    """Return the digest from which a key was made."""
    digits = key.partition("-")[0]
    return f"{'sha256' if len(digits) == _SHA256_DIGITS else 'sha512'}:{digits}"


def keep_meaning(store: Store, uri: Uri, platform: Platform, key: str) -> None:
    """Keep a note on the file that a name points to."""
    store.sifs.keep_name(noted_name(uri, platform), key)


def find_meaning(store: Store, uri: Uri, platform: Platform) -> str:
    """Return the key that was kept for a name; empty if there is none, or if it was damaged and is not a digest."""
    from sifmake.store.naming import is_digest

    key = store.sifs.find_name(noted_name(uri, platform))
    return key if is_digest(digest_of_key(key)) else ""


def noted_name(uri: Uri, platform: Platform) -> str:
    """Return the full name of an image, however short it was written."""
    name = f"docker://{uri.reference.canonical}" if uri.transport == "docker" else uri.given
    return f"{name} {platform}"
