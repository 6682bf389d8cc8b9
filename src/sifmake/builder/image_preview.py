"""What a SIF file of an image will say about itself, as far as manifest and config tell: no layer is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.errors import SourceError

if TYPE_CHECKING:
    from sifmake.builder.builder import Builder
    from sifmake.oci.model import Platform
    from sifmake.reference import Uri


def preview(builder: Builder, uri: Uri, platform: Platform) -> dict[str, Any]:
    """Return what manifest and config of an image tell, by the names that ``inspect`` has.

    The attributes are those of an image with the same config and no files: scripts that the layers bring, say a
    runscript that an image was made with, take the place of these when the SIF file is built.

    Raises:
        SourceError: The image cannot be read, or the URI names a SIF file: that tells when it is there.
    """
    from sifmake.builder.provenance import make_origin
    from sifmake.flatten.tree import Tree
    from sifmake.rootfs import prepare
    from sifmake.rootfs.report import parse_inspection

    if uri.is_sif:
        hint = f"run `sifmake pull {uri.given}`, then inspect the file"
        raise SourceError("a SIF file has no manifest that tells about it", where=uri.given, hint=hint)
    source = builder.open_source(uri)
    try:
        image = builder.load_image(source, builder.resolve(source, platform).manifest_digest)
        origin = make_origin(source.transport, source.name, image.digest)
    finally:
        source.close()
    prepared = prepare(Tree(), image, origin, {}, 0, lambda _inode, _size: b"")
    return parse_inspection(prepared.objects.inspect)
