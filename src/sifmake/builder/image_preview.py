"""Preview the metadata of an image's SIF file from manifest and config, without downloading a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.errors import SourceError

if TYPE_CHECKING:
    from sifmake.builder.builder import Builder
    from sifmake.oci.model import Platform
    from sifmake.reference import Uri


def preview(builder: Builder, uri: Uri, platform: Platform) -> dict[str, Any]:
    """Return the attributes that manifest and config of an image determine, with the names of ``inspect``.

    The attributes are those of an image with the same config and no files: when the SIF file is built, scripts in the
    layers, such as a runscript, replace these.

    Raises:
        SourceError: The image cannot be read, or the URI names a SIF file, which has no preview.
    """
    from sifmake.builder.provenance import make_origin
    from sifmake.flatten.tree import Tree
    from sifmake.rootfs import prepare
    from sifmake.rootfs.report import parse_inspection

    if uri.is_sif:
        hint = f"run `sifmake pull {uri.given}`, then inspect the file"
        raise SourceError("a SIF file cannot be inspected before it is downloaded", where=uri.given, hint=hint)
    source = builder.open_source(uri)
    try:
        image = builder.load_image(source, builder.resolve(source, platform).manifest_digest)
        origin = make_origin(source.transport, source.name, image.digest)
    finally:
        source.close()
    prepared = prepare(Tree(), image, origin, {}, 0, lambda _inode, _size: b"")
    return parse_inspection(prepared.objects.inspect)
