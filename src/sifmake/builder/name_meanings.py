"""What names of images meant when they were last asked for, for runs that may not ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sifmake.oci.model import Platform
    from sifmake.reference import Uri
    from sifmake.store import Store

_SHA256_DIGITS = 64


def sif_key(digest: str) -> str:
    """Return the store's key of the SIF file that this version of the stages makes of an image.

    Args:
        digest: Of the image's manifest, or what else stands for the file.
    """
    from sifmake.formats import format_versions

    versions = "-".join(str(number) for _name, number in sorted(format_versions().items()))
    return f"{digest.partition(':')[2]}-gzip-{versions}"


def digest_of_key(key: str) -> str:
    """Return the digest that a key was made of."""
    digits = key.partition("-")[0]
    return f"{'sha256' if len(digits) == _SHA256_DIGITS else 'sha512'}:{digits}"


def keep_meaning(store: Store, uri: Uri, platform: Platform, key: str) -> None:
    """Keep what a name meant."""
    store.sifs.keep_name(noted_name(uri, platform), key)


def find_meaning(store: Store, uri: Uri, platform: Platform) -> str:
    """Return the key that was kept for a name; empty where there is none."""
    return store.sifs.find_name(noted_name(uri, platform))


def noted_name(uri: Uri, platform: Platform) -> str:
    """Return the whole name of an image, however much of it was written."""
    name = f"docker://{uri.reference.canonical}" if uri.transport == "docker" else uri.given
    return f"{name} {platform}"
