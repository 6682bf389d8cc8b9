"""``docker-archive:``: what ``docker save`` and ``podman save`` write. It has no manifest, so one is made here."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sifmake.errors import BadReferenceError, IntegrityError, SourceError
from sifmake.oci import Descriptor, check_bytes, digest_bytes, is_digest, parse_config
from sifmake.oci.choosing import advise
from sifmake.oci.documents import load_json
from sifmake.oci.loading import check_layers
from sifmake.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from sifmake.oci.model import Image, Layer
from sifmake.oci.platform import is_served_by
from sifmake.reference import parse_reference
from sifmake.sources.archive import ArchiveSource
from sifmake.sources.base import Resolved
from sifmake.sources.compression import Inflated, is_compressed
from sifmake.sources.content import SmallMembers, read_small
from sifmake.sources.legacy_archive import read_repositories
from sifmake.sources.measuring import measure
from sifmake.sources.tar_archive import open_archive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sifmake.limits import Limits
    from sifmake.oci.model import ImageConfig, Platform
    from sifmake.reference import LocalReference
    from sifmake.sources.base import BlobReader, LayerFacts
    from sifmake.sources.content import ArchiveContent, Member
    from sifmake.sources.settings import SourceSettings


@dataclass(frozen=True)
class _SavedImage:
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


class DockerArchiveSource(ArchiveSource):
    """A docker archive, wherever it came from."""

    @contextmanager
    def open_layer(self, layer: Layer) -> Iterator[BlobReader]:
        """Open a layer; what is compressed inside the archive comes out uncompressed, as the manifest says."""
        with self._open(self._members(self._only_image.config)[layer.diff_id]) as member:
            yield self._plain(member)

    def _resolve(self, platform: Platform) -> Resolved:
        image = self._only_image
        if not is_served_by(image.config.platform, platform):
            raise SourceError(
                f"the image is for {image.config.platform}, not for {platform}",
                hint=advise([str(image.config.platform)]),
            )
        return Resolved(image.digest, image.digest)

    def _image(self, manifest_digest: str) -> Image:
        image = self._only_image
        if image.digest != manifest_digest:
            raise SourceError(
                f"the archive has another image than {manifest_digest}",
                hint="the archive was replaced; run `sifmake lock`",
            )
        self._content.keep({layer.diff_id for layer in image.layers})
        return image

    @cached_property
    def _saved(self) -> _SavedImage:
        return _choose_saved(_read_images(self._content, self._limits), self._reference)

    @cached_property
    def _only_image(self) -> Image:
        config = parse_config(self._saved.config)
        if len(config.diff_ids) != len(self._saved.layers):
            found, wanted = len(self._saved.layers), len(config.diff_ids)
            raise IntegrityError(f"the archive has {found} layers, but the config has {wanted} DiffIDs")
        check_layers(len(config.diff_ids), self._limits)
        sizes = {diff_id: self._uncompressed_size(name, diff_id) for diff_id, name in self._members(config).items()}
        layers = [Layer(Descriptor(OCI_LAYER, diff_id, sizes[diff_id]), diff_id) for diff_id in config.diff_ids]
        return _make_image(config, layers)

    def _members(self, config: ImageConfig) -> dict[str, str]:
        return dict(zip(config.diff_ids, self._saved.layers, strict=True))

    def _uncompressed_size(self, name: str, diff_id: str) -> int:
        passed = self._passed(name)
        if passed is None:
            with self._open(name) as member:
                plain = self._plain(member)
                if plain is member:
                    return member.size
                passed = measure(plain, b"", diff_id.partition(":")[0], self._limits, lambda _: None)
        if passed.diff_id != diff_id:
            raise IntegrityError("the layer does not have its DiffID", where=name)
        return passed.plain_size

    def _passed(self, name: str) -> LayerFacts | None:
        try:
            return self._content.passed(name)
        except FileNotFoundError:
            raise _missing(name) from None
        except IntegrityError as error:
            raise error.within(name) from None

    def _plain(self, member: Member) -> BlobReader:
        head = member.peek(8)
        return Inflated(member, head, self._limits) if is_compressed(head) else member

    def _open(self, name: str) -> Member:
        try:
            return self._content.open(name)
        except FileNotFoundError:
            raise _missing(name) from None


def _make_image(config: ImageConfig, layers: Sequence[Layer]) -> Image:
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


def _read_images(content: ArchiveContent, limits: Limits) -> list[_SavedImage]:
    """Return the images that ``manifest.json``, or the older ``repositories``, lists.

    Raises:
        SourceError: There is neither.
        IntegrityError: They are damaged.
    """
    try:
        data = read_small(content, "manifest.json", limits.manifest_bytes)
    except FileNotFoundError:
        return [_SavedImage(*saved) for saved in read_repositories(content, limits)]
    listed = load_json(b'{"images":%b}' % data)["images"]
    if not isinstance(listed, list) or not listed:
        raise IntegrityError("manifest.json lists no images")
    configs = SmallMembers(content, limits)
    return [_saved_image(configs, item) for item in listed]


def _choose_saved(images: Sequence[_SavedImage], reference: LocalReference) -> _SavedImage:
    """Return the image that the reference chooses.

    Raises:
        SourceError: There is none, or there are several and the reference chooses none.
    """
    hint = f"the archive has {_list_names(images)}"
    if reference.digest:
        wanted_configs = {config for config in {i.config for i in images} if digest_bytes(config) == reference.digest}
        found = [image for image in images if image.config in wanted_configs]
    elif reference.number is not None:
        found = [*images[reference.number : reference.number + 1]]
    elif reference.tag:
        wanted = _canonical(reference.tag)
        found = [image for image in images if wanted in map(_canonical, image.names)]
    elif len({image.config for image in images}) > 1:
        raise SourceError(f"the archive has {len(images)} images, so one must be chosen", hint=f"add :NAME:TAG; {hint}")
    else:
        found = [*images]
    if not found:
        raise SourceError(f"the archive has no image {reference.choice[1:]!r}", hint=hint)
    return found[0]


def _saved_image(configs: SmallMembers, item: Any) -> _SavedImage:
    item = item if isinstance(item, dict) else {}
    name, layers, tags = item.get("Config"), item.get("Layers"), item.get("RepoTags")
    if not isinstance(name, str) or not isinstance(layers or [], list):
        raise IntegrityError("manifest.json does not have the form that docker save writes")
    try:
        config = configs.read(name)
    except FileNotFoundError:
        raise SourceError(
            f"the archive has no config {name!r}", hint="it is incomplete; save the image again"
        ) from None
    algorithm, _, hexes = name.removeprefix("blobs/").partition("/")
    if name.startswith("blobs/") and is_digest(f"{algorithm}:{hexes}"):
        check_bytes(config, f"{algorithm}:{hexes}")
    names = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    return _SavedImage(names, config, tuple(str(layer) for layer in layers or []))


def _missing(name: str) -> SourceError:
    return SourceError(f"the archive has no member {name!r}", hint="it is incomplete; save the image again")


def _canonical(name: str) -> str:
    try:
        return parse_reference(name).canonical
    except BadReferenceError:
        return name


def _list_names(images: Sequence[_SavedImage]) -> str:
    names = [image.names[0] if image.names else f"@{number}" for number, image in enumerate(images)]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _plain_descriptor(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
