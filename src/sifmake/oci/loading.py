"""Load the image for one platform: nested indexes, checks, DiffIDs. Sources provide the documents."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from sifmake.errors import IntegrityError, LimitError, SourceError
from sifmake.oci.choosing import advise, choose_manifest, images_in, is_index, no_match
from sifmake.oci.digest import short
from sifmake.oci.documents import MOST_ENTRIES, Index, Manifest, parse_config, parse_document
from sifmake.oci.model import Image, ImageConfig, Layer
from sifmake.oci.platform import is_served_by, rank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.limits import Limits
    from sifmake.oci.model import Descriptor, Platform

MOST_DOCUMENTS = 1000
"""Most nested indexes to read for one image, and most entries without a platform whose config is read."""


_BY_DIGEST = "use the digest of the manifest"


class Documents(Protocol):
    """Small content of one image, checked against its digest and size."""

    def manifest(self, descriptor: Descriptor) -> bytes:
        """Return an index or manifest."""

    def blob(self, descriptor: Descriptor) -> bytes:
        """Return a config."""


def find_manifest(root: Descriptor, platform: Platform, documents: Documents, limits: Limits) -> Descriptor:
    """Follow a document, perhaps through indexes, to the manifest for a platform.

    The config of a single manifest must be for the platform. Indexes may be nested; a loop ends the search.

    Raises:
        SourceError: There is no image for the platform.
        IntegrityError: A document is damaged.
        LimitError: Indexes are nested too deeply, or have too many entries.
    """
    document = parse_document(documents.manifest(root))
    if isinstance(document, Manifest):
        _check_platform(_config(document, documents), platform)
        return root
    return choose_leaf(document, platform, documents, limits)


def choose_leaf(index: Index, platform: Platform, documents: Documents, limits: Limits) -> Descriptor:
    """Return the best entry of an index and of the indexes in it; see :func:`find_manifest`."""
    leaves = leaves_of(index, platform, documents, limits)
    named = [leaf for leaf in leaves if leaf.platform]
    try:
        return choose_manifest(named, platform)
    except SourceError:
        unnamed = [leaf for leaf in leaves if not leaf.platform]
        return _choose_by_config(named, unnamed, platform, documents)


def leaves_of(index: Index, platform: Platform, documents: Documents, limits: Limits) -> list[Descriptor]:
    """Return the images of an index and of nested indexes that may have one for the platform."""
    leaves = list(islice(_leaves(index, platform, documents, limits.index_depth, set()), MOST_ENTRIES + 1))
    if len(leaves) > MOST_ENTRIES:
        raise LimitError(f"the image's indexes have more than {MOST_ENTRIES} entries together", hint=_BY_DIGEST)
    return leaves


def load_image(manifest: Descriptor, documents: Documents, limits: Limits | None = None) -> Image:
    """Fetch manifest and config of one image.

    Args:
        manifest: Descriptor of the manifest.
        documents: Provides both.
        limits: Bounds the layers before the config is fetched; None if the caller does that later.

    Raises:
        SourceError: It is not a container image, or has too many layers.
        IntegrityError: A document is damaged or lists no DiffID for a layer.
    """
    data = documents.manifest(manifest)
    document = parse_document(data)
    if isinstance(document, Index):
        raise IntegrityError("the digest is of an index, not of one platform's manifest", where=manifest.digest)
    if limits is not None:
        check_layers(len(document.layers), limits)
    config = _config(document, documents)
    if len(config.diff_ids) != len(document.layers):
        raise IntegrityError(
            f"the manifest has {len(document.layers)} layers, the config {len(config.diff_ids)} DiffIDs",
            where=short(manifest.digest),
            hint="the image is damaged; push it again",
        )
    layers = tuple(Layer(layer, diff_id) for layer, diff_id in zip(document.layers, config.diff_ids, strict=True))
    return Image(manifest.digest, data, document.config, config, layers)


def check_layers(count: int, limits: Limits) -> None:
    """Check that an image does not have too many layers.

    Raises:
        LimitError: It has too many.
    """
    if count > limits.layers:
        raise LimitError(
            f"the image has {count} layers, more than the limit of {limits.layers}",
            hint="ask its owner to rebuild it with fewer, or raise layers (limits: in sifmake.yaml)",
        )


def _leaves(index: Index, platform: Platform, documents: Documents, depth: int, seen: set[str]) -> Iterator[Descriptor]:
    """Yield the images of an index; a nested index for another platform is yielded itself instead of its images."""
    for entry in images_in(index):
        if not is_index(entry) or (entry.platform and rank(entry.platform, platform) is None):
            yield entry
            continue
        if entry.digest in seen:
            continue
        seen.add(entry.digest)
        if depth <= 1:
            raise LimitError("image indexes are nested too deeply", where=short(entry.digest), hint=_BY_DIGEST)
        if len(seen) > MOST_DOCUMENTS:
            raise LimitError(f"an image index contains more than {MOST_DOCUMENTS} indexes", hint=_BY_DIGEST)
        nested = parse_document(documents.manifest(entry))
        if isinstance(nested, Index):
            yield from _leaves(nested, platform, documents, depth - 1, seen)
        else:
            yield entry


def _choose_by_config(
    named: list[Descriptor], unnamed: list[Descriptor], platform: Platform, documents: Documents
) -> Descriptor:
    """Choose among entries whose platform is only in their configs; artifacts are skipped."""
    if len(unnamed) > MOST_DOCUMENTS:
        what = f"{len(unnamed)} entries of the image's index have no platform, more than the limit of {MOST_DOCUMENTS}"
        raise LimitError(what, hint=_BY_DIGEST)
    told = []
    objection = None
    known: dict[str, Platform] = {}
    for leaf in unnamed:
        try:
            told.append(replace(leaf, platform=_platform_of(leaf, platform, documents, known)))
        except IntegrityError:
            raise
        except SourceError as error:
            objection = objection or error
    if objection and not told and not named:
        raise objection
    try:
        return choose_manifest(told, platform)
    except SourceError:
        raise no_match([*named, *told], platform) from None


def _platform_of(leaf: Descriptor, wanted: Platform, documents: Documents, known: dict[str, Platform]) -> Platform:
    """Return the platform in the config of an entry; ``known`` has the platforms of configs read before."""
    document = parse_document(documents.manifest(leaf))
    if isinstance(document, Index):
        raise IntegrityError("an index is announced as a manifest", where=short(leaf.digest))
    digest = document.config.digest
    if digest not in known:
        known[digest] = _config(document, documents).platform
    platform = known[digest]
    return platform if platform.os or platform.architecture else wanted


def _config(manifest: Manifest, documents: Documents) -> ImageConfig:
    try:
        return parse_config(documents.blob(manifest.config))
    except IntegrityError as error:
        raise error.within(f"config {short(manifest.config.digest)}") from None


def _check_platform(config: ImageConfig, platform: Platform) -> None:
    if not is_served_by(config.platform, platform):
        what = f"the image is for {config.platform}, not for {platform}"
        raise SourceError(what, hint=advise([str(config.platform)]))
