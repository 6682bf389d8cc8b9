"""``docker-archive:``: what ``docker save`` and ``podman save`` write. It has no manifest: one is made here."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sifmake.errors import BadReferenceError, IntegrityError, SifmakeError, SourceError
from sifmake.oci import Descriptor, check_bytes, digest_bytes, is_digest, parse_config
from sifmake.oci.documents import load_json
from sifmake.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from sifmake.oci.model import Image, Layer
from sifmake.oci.platform import is_served_by
from sifmake.reference import parse_reference
from sifmake.sources.base import Resolved
from sifmake.sources.content import read_small
from sifmake.sources.legacy_archive import read_repositories
from sifmake.sources.spool import Inflated, is_compressed
from sifmake.sources.tar_archive import open_archive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sifmake.limits import Limits
    from sifmake.oci.model import ImageConfig, Platform
    from sifmake.reference import LocalReference
    from sifmake.sources.base import BlobReader, KnownIndexes
    from sifmake.sources.content import Content, Member
    from sifmake.sources.settings import SourceSettings


@dataclass(frozen=True)
class SavedImage:
    """One image of an archive.

    Attributes:
        names: ``name:tag`` each; may be empty.
        config: The config's bytes.
        layers: Member names, lowest first.
    """

    names: tuple[str, ...]
    config: bytes
    layers: tuple[str, ...]


def open_docker_archive(reference: LocalReference, settings: SourceSettings) -> DockerArchiveSource:
    """Open an archive, which may be compressed.

    Raises:
        SourceError: There is no such file.
        IntegrityError: It is damaged.
    """
    archive = open_archive("docker-archive", reference.path, settings)
    return DockerArchiveSource("docker-archive", reference, archive, settings.limits)


class DockerArchiveSource:
    """A docker archive, wherever it came from.

    Attributes:
        transport: ``docker-archive`` or ``docker-daemon``.
        name: The archive's own name with the image that was chosen.
    """

    def __init__(self, transport: str, reference: LocalReference, content: Content, limits: Limits) -> None:
        self.transport = transport
        self.name = reference.name
        self._reference = reference
        self._content = content
        self._limits = limits
        self._made: Image | None = None
        self._members: dict[str, str] = {}

    def resolve(self, platform: Platform, known: KnownIndexes | None = None) -> Resolved:  # noqa: ARG002
        """Choose the image and make its manifest."""
        try:
            image = self._image()
            if not is_served_by(image.config.platform, platform):
                raise SourceError(
                    f"the image is for {image.config.platform}, not for {platform}",
                    hint=f"take it with --platform {image.config.platform}",
                )
        except SifmakeError as error:
            raise error.within(self._where) from None
        return Resolved(image.digest, image.digest)

    def image(self, manifest_digest: str) -> Image:
        """Return the image if its manifest, which is made anew, still has the digest."""
        try:
            image = self._image()
        except SifmakeError as error:
            raise error.within(self._where) from None
        if image.digest != manifest_digest:
            raise SourceError(
                f"the archive has another image than {manifest_digest}",
                where=self._where,
                hint="it was written anew: run sifmake lock",
            )
        return image

    @contextmanager
    def open_layer(self, layer: Layer) -> Iterator[BlobReader]:
        """Open a layer; what is compressed inside the archive comes out uncompressed, as the manifest says."""
        self._image()
        with self._open(self._members[layer.diff_id]) as member:
            yield self._plain(member)

    def close(self) -> None:
        """Close the archive."""
        self._content.close()

    @property
    def _where(self) -> str:
        return f"{self.transport}:{self._reference.path}{self._reference.choice}"

    def _image(self) -> Image:
        if self._made is None:
            saved = choose_saved(read_images(self._content, self._limits), self._reference)
            self._made = self._make(saved)
        return self._made

    def _make(self, saved: SavedImage) -> Image:
        config = parse_config(saved.config)
        if len(config.diff_ids) != len(saved.layers):
            raise IntegrityError(
                f"the archive has {len(saved.layers)} layers, the config {len(config.diff_ids)} DiffIDs"
            )
        layers = []
        for diff_id, name in zip(config.diff_ids, saved.layers, strict=True):
            self._members[diff_id] = name
            layers.append(Layer(Descriptor(OCI_LAYER, diff_id, self._uncompressed_size(name, diff_id)), diff_id))
        return make_image(config, layers)

    def _uncompressed_size(self, name: str, diff_id: str) -> int:
        with self._open(name) as member:
            plain = self._plain(member)
            if plain is member:
                return member.size
            size, digest = 0, hashlib.new(diff_id.partition(":")[0])
            while data := plain.read(1 << 20):
                size += len(data)
                digest.update(data)
        if digest.hexdigest() != diff_id.partition(":")[2]:
            raise IntegrityError("the layer does not have its DiffID", where=name)
        return size

    def _plain(self, member: Member) -> BlobReader:
        head = member.peek(8)
        return Inflated(member, head, self._limits) if is_compressed(head) else member

    def _open(self, name: str) -> Member:
        try:
            return self._content.open(name)
        except FileNotFoundError:
            raise SourceError(f"the archive has no member {name!r}", hint="it was not written whole") from None


def make_image(config: ImageConfig, layers: Sequence[Layer]) -> Image:
    """Return an image with the manifest that config and uncompressed layers determine."""
    descriptor = Descriptor(OCI_CONFIG, digest_bytes(config.raw), len(config.raw))
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _plain_descriptor(descriptor),
        "layers": [_plain_descriptor(layer.descriptor) for layer in layers],
    }
    manifest = json.dumps(document, separators=(",", ":")).encode()
    return Image(digest_bytes(manifest), manifest, descriptor, config, tuple(layers))


def read_images(content: Content, limits: Limits) -> list[SavedImage]:
    """Return the images that ``manifest.json``, or the older ``repositories``, lists.

    Raises:
        SourceError: There is neither.
        IntegrityError: They are damaged.
    """
    try:
        data = read_small(content, "manifest.json", limits.manifest_bytes)
    except FileNotFoundError:
        return [SavedImage(*saved) for saved in read_repositories(content, limits)]
    listed = load_json(b'{"images":%b}' % data)["images"]
    if not isinstance(listed, list) or not listed:
        raise IntegrityError("manifest.json lists no images")
    return [_saved_image(content, item, limits) for item in listed]


def choose_saved(images: Sequence[SavedImage], reference: LocalReference) -> SavedImage:
    """Return the image that the reference means.

    Raises:
        SourceError: There is none, or several and none was chosen.
    """
    hint = f"the archive has {_list_names(images)}"
    if reference.digest:
        found = [image for image in images if digest_bytes(image.config) == reference.digest]
    elif reference.number is not None:
        found = [*images[reference.number : reference.number + 1]]
    elif reference.tag:
        wanted = _canonical(reference.tag)
        found = [image for image in images if wanted in map(_canonical, image.names)]
    elif len({image.config for image in images}) > 1:
        raise SourceError(f"the archive has {len(images)} images and none was chosen", hint=f"add :NAME:TAG; {hint}")
    else:
        found = [*images]
    if not found:
        raise SourceError(f"the archive has no image {reference.choice[1:]!r}", hint=hint)
    return found[0]


def _saved_image(content: Content, item: Any, limits: Limits) -> SavedImage:
    item = item if isinstance(item, dict) else {}
    name, layers, tags = item.get("Config"), item.get("Layers"), item.get("RepoTags")
    if not isinstance(name, str) or not isinstance(layers or [], list):
        raise IntegrityError("manifest.json is not as docker save writes it")
    try:
        config = read_small(content, name, limits.config_bytes)
    except FileNotFoundError:
        raise SourceError(f"the archive has no config {name!r}", hint="it was not written whole") from None
    algorithm, _, hexes = name.removeprefix("blobs/").partition("/")
    if name.startswith("blobs/") and is_digest(f"{algorithm}:{hexes}"):
        check_bytes(config, f"{algorithm}:{hexes}")
    names = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    return SavedImage(names, config, tuple(str(layer) for layer in layers or []))


def _canonical(name: str) -> str:
    try:
        return parse_reference(name).canonical
    except BadReferenceError:
        return name


def _list_names(images: Sequence[SavedImage]) -> str:
    names = [image.names[0] if image.names else f"@{number}" for number, image in enumerate(images)]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _plain_descriptor(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
