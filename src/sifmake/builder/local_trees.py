"""Turn root file systems without layers into one layer each: folders, tar archives, SIF files, squashfs."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sifmake.errors import IntegrityError, SifError, SourceError
from sifmake.files import sha256_of_open
from sifmake.json_text import parse_json
from sifmake.ranges import read_at
from sifmake.steps.step_key import digest_of
from sifmake.steps.step_notes import StepNote, find_note, keep_note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sifmake.layers.pack_reader import Pack
    from sifmake.limits import Limits
    from sifmake.squashfs.reader import SquashfsReader
    from sifmake.steps.layer_maker import LayerMaker
    from sifmake.store import Store

_HEAD = 512
_SQUASHFS = b"hsqs"
_USED = slice(40, 48)
_CONVERSION = 1
"""Increase this number when the same file gives another layer."""


@dataclass(frozen=True)
class LocalTree:
    """A root file system as one layer.

    Attributes:
        pack: The layer; the caller owns it.
        oci_config: The image's settings in the SIF file; None if it has none.
    """

    pack: Pack
    oci_config: dict[str, Any] | None = None


def open_local_tree(path: Path, maker: LayerMaker, store: Store, limits: Limits) -> LocalTree:
    """Return the layer of a folder, a tar archive (perhaps compressed), a SIF file or a squashfs image.

    Raises:
        SourceError: It is none of these, or does not exist.
        SifmakeError: It is damaged or exceeds a limit.
    """
    if path.is_dir():
        from sifmake.steps.tree_streams import folder_stream

        return LocalTree(maker.find_or_make(lambda: folder_stream(path), path.name))
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SourceError("the file or folder does not exist", where=str(path), hint="check the path") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            hint = "name a folder, a SIF file, or an archive on disk"
            raise SourceError("this is neither a folder nor a regular file", where=str(path), hint=hint)
        return _of_file(path, fd, maker, store, limits)
    finally:
        os.close(fd)


def _of_file(path: Path, fd: int, maker: LayerMaker, store: Store, limits: Limits) -> LocalTree:
    head = read_at(fd, _HEAD, 0)
    if head.startswith(_SQUASHFS):
        size = int.from_bytes(head[_USED], "little")
        squashfs = _Squashfs(path, fd, lambda count, at: read_at(fd, count, at), size)
        return LocalTree(_of_squashfs(squashfs, maker, store, limits))
    if _looks_like_tar(head):
        return LocalTree(_of_tar(path, fd, head, maker, store, limits))
    from sifmake.sif import read_sif

    sif = read_sif(fd, path)
    primary = sif.primary()
    if primary is None:
        hint = "run `sifmake sif list` to see its objects"
        raise SifError("the file has no root file system", where=str(path), hint=hint)
    squashfs = _Squashfs(path, fd, lambda size, at: sif.pread(primary, size, at), primary.size)
    pack = _of_squashfs(squashfs, maker, store, limits)
    config = sif.find(name="oci-config.json")
    try:
        found = parse_json(sif.read(config[0], limits.config_bytes)) if config else None
    except ValueError:
        found = None
    return LocalTree(pack, found if isinstance(found, dict) else None)


class _Squashfs(NamedTuple):
    """A squashfs image in a file.

    Attributes:
        path: The file.
        fd: Its descriptor.
        pread: Reads a number of bytes at an offset in the image.
        size: Bytes of the image.
    """

    path: Path
    fd: int
    pread: Callable[[int, int], bytes]
    size: int


def _of_squashfs(squashfs: _Squashfs, maker: LayerMaker, store: Store, limits: Limits) -> Pack:
    from sifmake.builder.known_digests import known_digest
    from sifmake.squashfs.reader import SquashfsReader
    from sifmake.steps.tree_streams import squashfs_stream

    path, pread = squashfs.path, squashfs.pread
    digest = known_digest(store, squashfs.fd, "root file system", lambda: _digest(pread, squashfs.size))
    key = digest_of({"format": _CONVERSION, "squashfs": digest.removeprefix("sha256:")})

    def make() -> Pack:
        # Converting a file takes almost three times as long as comparing it.
        fewer = limits._replace(image_listing_bytes=limits.image_listing_bytes * 3 // 8)
        reader: SquashfsReader = SquashfsReader(pread, fewer, name=str(path))
        return maker.make(squashfs_stream(reader), path.name)

    return _noted(key, f"root file system of {path.name}", make, maker, store)


def _of_tar(path: Path, fd: int, head: bytes, maker: LayerMaker, store: Store, limits: Limits) -> Pack:
    from sifmake.builder.known_digests import known_digest

    digest = known_digest(store, fd, "file", lambda: f"sha256:{sha256_of_open(fd)}")
    key = digest_of({"format": _CONVERSION, "tar": digest.removeprefix("sha256:")})

    def make() -> Pack:
        with _open_stream(fd, head, limits) as (read, first, consumed):
            try:
                return maker.make_of(read, first, path.name, consumed, os.fstat(fd).st_size)
            except IntegrityError as error:
                raise error.within(str(path)) from None

    return _noted(key, f"root file system of {path.name}", make, maker, store)


def _noted(key: str, title: str, make: Callable[[], Pack], maker: LayerMaker, store: Store) -> Pack:
    """Return the layer made from the same bytes before, or make it now."""
    note = find_note(store, key)
    found = maker.find(note.diff_id) if note else None
    if found is not None:
        return found
    pack = make()
    keep_note(store, StepNote(key, pack.meta.diff_id, "converted", title))
    return pack


def _digest(pread: Callable[[int, int], bytes], size: int) -> str:
    total, at = hashlib.sha256(), 0
    while at < size and (piece := pread(min(1 << 20, size - at), at)):
        total.update(piece)
        at += len(piece)
    return f"sha256:{total.hexdigest()}"


def _looks_like_tar(head: bytes) -> bool:
    from sifmake.sources.compression import is_compressed

    return is_compressed(head) or head[257:262] == b"ustar"


@contextmanager
def _open_stream(fd: int, head: bytes, limits: Limits) -> Iterator[tuple[Any, bytes, Callable[[], int]]]:
    """Provide a reader of an archive, its first bytes, and a function that counts the bytes read from the file."""
    from sifmake.sources.compression import Inflated, begins_as_xz_or_bzip2

    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        if begins_as_xz_or_bzip2(head):
            inflated = Inflated(file, head, limits)
            yield inflated, b"", inflated.consumed
        else:
            yield file, head, file.tell
