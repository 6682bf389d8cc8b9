"""Proof that a manifest belongs to an index: an index lists its images by digest, so its bytes prove which they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sifmake.errors import IntegrityError, SourceError
from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.oci.choosing import choose_manifest, images_in, is_index
from sifmake.oci.digest import check_bytes
from sifmake.oci.documents import Index, Manifest, parse_document
from sifmake.oci.loading import MOST_DOCUMENTS, leaves_of
from sifmake.oci.model import Descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sifmake.oci.loading import Documents
    from sifmake.oci.model import Platform

UNKNOWN_SIZE = -1
"""Size in a descriptor that was made from a digest only."""


class Candidates(msgspec.Struct, frozen=True):
    """The manifests that may be the image for a platform.

    Attributes:
        manifests: Their digests; one, unless an index has several entries without a platform.
        by_config: Whether no index names the platform, so that the image's config must.
    """

    manifests: tuple[str, ...]
    by_config: bool


def find_candidates(digest: str, platform: Platform, documents: Documents, limits: Limits) -> Candidates:
    """Return the candidates for a platform to which an index or manifest leads; only indexes are read.

    Args:
        digest: Digest of the index or manifest.
        platform: The platform of the image.
        documents: Provides each index; its exceptions are passed on.
        limits: Bound the depth of nested indexes.

    Raises:
        IntegrityError: An index is damaged, or indexes are nested too deeply.
        SourceError: It has no image for the platform.
    """
    document = parse_document(documents.manifest(Descriptor("", digest, UNKNOWN_SIZE)))
    if isinstance(document, Manifest):
        return Candidates((digest,), by_config=True)
    leaves = leaves_of(document, platform, documents, limits)
    try:
        return Candidates(
            (choose_manifest([leaf for leaf in leaves if leaf.platform], platform).digest,), by_config=False
        )
    except SourceError:
        unnamed = dict.fromkeys(leaf.digest for leaf in leaves if not leaf.platform)
        if not unnamed:
            raise
    return Candidates(tuple(unnamed), by_config=True)


def is_member(
    document: bytes, manifest_digest: str, find: Callable[[str], bytes | None], limits: Limits = DEFAULT_LIMITS
) -> bool:
    """Tell whether an index lists a manifest, directly or in a nested index, for any platform.

    Args:
        document: An index; a manifest counts as its own only member.
        manifest_digest: Digest of the manifest.
        find: Returns a nested index by its digest, or None if it is not available.
        limits: Bound the depth of nested indexes.

    Returns:
        False also if the document is damaged, or a nested index is not available.
    """
    for data, images in _walk(document, find, limits):
        if manifest_digest in {image.digest for image in images} or _has_digest(data, manifest_digest):
            return True
    return False


def indexes_in(document: bytes, find: Callable[[str], bytes | None], limits: Limits = DEFAULT_LIMITS) -> list[str]:
    """Return the digests of all nested indexes that are available.

    Args:
        document: An index.
        find: See :func:`is_member`.
        limits: Bound the depth of nested indexes.
    """
    found: list[str] = []

    def noted(digest: str) -> bytes | None:
        data = find(digest)
        if data is not None:
            found.append(digest)
        return data

    for _ in _walk(document, noted, limits):
        pass
    return found


def _walk(
    document: bytes, find: Callable[[str], bytes | None], limits: Limits
) -> Iterator[tuple[bytes, list[Descriptor]]]:
    """Yield a document and each available nested index, with the images and indexes that each of them lists."""
    waiting = [(document, limits.index_depth)]
    seen: set[str] = set()
    while waiting:
        data, depth = waiting.pop()
        images = _images(data)
        yield data, images
        indexes = {image.digest for image in images if is_index(image)} if depth > 1 else set()
        for digest in sorted(indexes - seen)[: MOST_DOCUMENTS - len(seen)]:
            seen.add(digest)
            if (nested := find(digest)) is not None:
                waiting.append((nested, depth - 1))


def _images(data: bytes) -> list[Descriptor]:
    """Return the images and indexes in an index; empty if the data is not an index."""
    try:
        document = parse_document(data)
    except SourceError:
        return []
    return images_in(document) if isinstance(document, Index) else []


def _has_digest(data: bytes, digest: str) -> bool:
    try:
        check_bytes(data, digest)
    except IntegrityError:
        return False
    return True
