"""``oci:`` and ``oci-archive:``: OCI image layouts as folders and as tar archives (image-layout.md)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError, LimitError, SourceError
from sifmake.oci import check_bytes, find_manifest, load_image
from sifmake.oci.choosing import images_in
from sifmake.oci.documents import Index, load_json, looks_like_config, parse_document, parse_index
from sifmake.oci.loading import choose_leaf
from sifmake.oci.model import Descriptor
from sifmake.sources.archive import ArchiveSource
from sifmake.sources.base import Resolved
from sifmake.sources.content import FolderContent, read_small
from sifmake.sources.embedded import open_embedded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sifmake.oci.model import Image, Layer, Platform
    from sifmake.reference import LocalReference
    from sifmake.sources.base import BlobReader
    from sifmake.sources.content import Member
    from sifmake.sources.settings import SourceSettings

_REF_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"
_MOST_LOOKED_INTO = 1000
_UNKNOWN_SIZE = -1
"""Size in a descriptor that was made from a digest only."""


def open_layout(reference: LocalReference, settings: SourceSettings) -> LayoutSource:
    """Open a layout in a folder.

    Raises:
        SourceError: There is no such folder.
    """
    if not reference.path.is_dir():
        raise _no_folder(reference.path)
    return LayoutSource("oci", reference, FolderContent(reference.path), settings.limits)


def _no_folder(path: Path) -> SourceError:
    """Return the error for a path that is not a folder; it says what a file at that path is."""
    what, hint = "there is no such folder", "check the path"
    if path.is_file():
        from sifmake.not_sif import HEAD, describe_other

        with path.open("rb") as file:
            told = describe_other(str(path), file.read(HEAD), "a layout")
        what, hint = told if told[0] else ("this is a file, not a folder", "use oci-archive: for a tar archive")
    return SourceError(what, where=f"oci:{path}", hint=hint)


def open_layout_archive(reference: LocalReference, settings: SourceSettings) -> LayoutSource:
    """Open a layout in a tar archive, which may be compressed.

    Raises:
        SourceError: There is no such file.
        IntegrityError: It is damaged.
    """
    from sifmake.sources.tar_archive import open_archive

    archive = open_archive("oci-archive", reference.path, settings)
    return LayoutSource("oci-archive", reference, archive, settings.limits)


class LayoutSource(ArchiveSource):
    """An OCI layout in a folder or an archive."""

    def open_layer(self, layer: Layer) -> AbstractContextManager[BlobReader]:
        """Open a layer's blob."""
        return open_embedded(layer) or self._open_blob(layer.descriptor)

    def _resolve(self, platform: Platform) -> Resolved:
        entries = self._wanted(self._index())
        if len(entries) == 1:
            digest = find_manifest(entries[0], platform, self, self._limits).digest
            return Resolved(entries[0].digest, digest)
        digest = choose_leaf(Index(tuple(entries)), platform, self, self._limits).digest
        return Resolved(digest, digest)

    def _image(self, manifest_digest: str) -> Image:
        image = load_image(Descriptor("", manifest_digest, _UNKNOWN_SIZE), self, self._limits)
        for layer in image.layers:
            self._check_passed(layer)
        self._content.keep({layer.diff_id for layer in image.layers})
        return image

    def _check_passed(self, layer: Layer) -> None:
        """Check a layer that was streamed; other layers are checked when they are read."""
        digest = layer.descriptor.digest
        try:
            passed = self._content.passed(_blob_name(digest))
        except FileNotFoundError:
            return
        except IntegrityError as error:
            raise error.within(f"layer {digest}") from None
        if passed is None:
            return
        for what, found, wanted in (
            ("size", passed.size, layer.descriptor.size),
            ("digest", passed.digest, digest),
            ("DiffID", passed.diff_id, layer.diff_id),
        ):
            if found != wanted:
                raise IntegrityError(
                    f"the layer has the wrong {what}: expected {wanted}, got {found}",
                    where=f"layer {digest}",
                    hint="the archive is damaged or was tampered with; get it from a trusted place",
                )

    @contextmanager
    def _open_blob(self, descriptor: Descriptor) -> Iterator[BlobReader]:
        with self._open(descriptor.digest) as member:
            if member.size != descriptor.size:
                raise IntegrityError(
                    f"the blob has {member.size} bytes, the manifest says {descriptor.size}",
                    hint="the layout is damaged or incomplete; copy it again",
                )
            yield member

    def manifest(self, descriptor: Descriptor) -> bytes:
        """Return a checked index or manifest."""
        return self._document(descriptor, self._limits.manifest_bytes)

    def blob(self, descriptor: Descriptor) -> bytes:
        """Return a checked config."""
        return self._document(descriptor, self._limits.config_bytes)

    def _manifest(self, digest: str) -> bytes:
        return self.manifest(Descriptor("", digest, _UNKNOWN_SIZE))

    def _document(self, descriptor: Descriptor, limit: int) -> bytes:
        if descriptor.data is not None:
            return descriptor.data
        with self._open(descriptor.digest) as member:
            if member.size > limit:
                what = f"the document has {member.size} bytes, more than {limit}"
                raise LimitError(what, hint="raise manifest-bytes or config-bytes (limits: in sifmake.yaml)")
            size = None if descriptor.size == _UNKNOWN_SIZE else descriptor.size
            return check_bytes(member.read(), descriptor.digest, size)

    def _open(self, digest: str) -> Member:
        try:
            return self._content.open(_blob_name(digest))
        except FileNotFoundError:
            raise SourceError(f"the layout has no blob {digest}", hint="it is incomplete; copy it again") from None

    def _index(self) -> Index:
        try:
            data = read_small(self._content, "index.json", self._limits.manifest_bytes)
        except FileNotFoundError:
            raise SourceError("not an OCI layout: it has no index.json", hint=self._hint()) from None
        try:
            return parse_index(load_json(data))
        except IntegrityError as error:
            raise error.within("index.json") from None

    def _hint(self) -> str:
        try:
            self._content.open("manifest.json").close()
        except FileNotFoundError:
            return ""
        return "use docker-archive: for archives of docker save"

    def _wanted(self, index: Index) -> list[Descriptor]:
        """Return the entries that the reference chooses: one, or one for each platform."""
        if self._reference.digest:
            return [self._by_digest(index, self._reference.digest)]
        entries = images_in(index)
        if self._reference.number is not None:
            return [self._by_number(entries, self._reference.number)]
        if self._reference.tag:
            return self._by_tag(entries, self._reference.tag)
        if not entries:
            raise SourceError("the layout is empty", hint="check the path")
        return self._only(entries)

    def _by_digest(self, index: Index, digest: str) -> Descriptor:
        for entry in index.entries:
            if entry.digest == digest:
                return entry
        descriptor = Descriptor("", digest, _UNKNOWN_SIZE)
        data = self.manifest(descriptor)
        if looks_like_config(data):
            raise SourceError(
                "this digest is of an image config (an image ID), not of a manifest",
                hint=f"the layout has {_list_refs(images_in(index))}",
            )
        return descriptor

    def _by_number(self, entries: list[Descriptor], number: int) -> Descriptor:
        if number >= len(entries):
            what = f"the layout has {len(entries)} images, counted from 0"
            raise SourceError(what, hint=f"it has {_list_refs(entries)}")
        return entries[number]

    def _by_tag(self, entries: list[Descriptor], tag: str) -> list[Descriptor]:
        found = [entry for entry in entries if entry.annotations.get(_REF_NAME) == tag]
        found = found or [entry for entry in entries if _has_name(entry, tag)]
        if not found:
            raise SourceError(f"the layout has no image {tag!r}", hint=f"it has {_list_refs(entries)}")
        return found

    def _only(self, entries: list[Descriptor]) -> list[Descriptor]:
        if len(entries) > 1:
            different = {entry.digest: entry for entry in entries[:_MOST_LOOKED_INTO]}
            images = {digest for digest, entry in different.items() if self._is_image(entry)}
            entries = [entry for entry in entries[:_MOST_LOOKED_INTO] if entry.digest in images] or entries
        refs = {entry.annotations.get(_REF_NAME, "") for entry in entries}
        digests = {entry.digest: entry for entry in entries}
        platforms = {entry.platform for entry in digests.values()}
        if len(digests) == 1 or (len(refs) == 1 and None not in platforms and len(platforms) == len(digests)):
            return list(digests.values())
        raise SourceError(
            f"the layout has {len(digests)} images, so one must be chosen",
            hint=f"add :TAG or @DIGEST; it has {_list_refs(entries)}",
        )

    def _is_image(self, entry: Descriptor) -> bool:
        """Tell an image from signatures and other artifacts that tools store beside it."""
        try:
            parse_document(self.manifest(entry))
        except IntegrityError:
            return True
        except SourceError:
            return False
        return True


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _has_name(entry: Descriptor, name: str) -> bool:
    full = entry.annotations.get(_CONTAINERD_NAME, "")
    return bool(full) and (full == name or full.removeprefix("docker.io/").removeprefix("library/") == name)


def _list_refs(entries: list[Descriptor]) -> str:
    refs = [f":{ref}" if (ref := entry.annotations.get(_REF_NAME)) else f"@{entry.digest}" for entry in entries]
    unique = list(dict.fromkeys(refs))
    return ", ".join(unique[:12]) + (f" and {len(unique) - 12} more" if len(unique) > 12 else "")
