"""Turn a pack into the pack of the same layer with another codec, without downloading the layer again."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from sifmake.errors import PackDamagedError
from sifmake.layers.array_part import encoded_array
from sifmake.layers.blocks import BlockWriter, Workers
from sifmake.layers.codec import BLOCK_SIZE, Codec
from sifmake.layers.content_reader import ContentReader
from sifmake.layers.pack_format import Meta
from sifmake.layers.pack_writer import write_index

if TYPE_CHECKING:
    from sifmake.layers.entry import Content
    from sifmake.layers.pack_reader import Pack
    from sifmake.progress import Task


def repack(file: BinaryIO, pack: Pack, codec: Codec, workers: Workers, task: Task) -> None:
    """Write the pack that :func:`write_pack` would have written with another codec.

    Args:
        file: Open for writing and empty.
        pack: The layer's pack, made by another codec or encoder.
        codec: The wanted codec.
        workers: Threads to compress on.
        task: Receives the number of bytes of the old data region that are done.

    Raises:
        PackDamagedError: A file's bytes do not have the SHA-256 given in the index.
    """
    blocks = BlockWriter(file, codec, workers)
    contents = ContentReader(pack)
    for number, content in enumerate(pack.contents):
        index = _copy_content(contents, content, blocks)
        if index != number or blocks.contents[index].sha256 != content.sha256:
            raise PackDamagedError(
                f"file with SHA-256 {content.sha256.hex()[:12]} is damaged",
                where=str(pack.path),
                hint="run the command again to download the layer again",
            )
        task.advance(content.stored)
    blocks.finish()
    old = pack.meta
    meta = Meta(old.diff_id, codec.name, codec.level, codec.fingerprint, BLOCK_SIZE, old.warnings)
    write_index(file, blocks, encoded_array(pack.stored_entries()), meta, pack.residue())


def _copy_content(contents: ContentReader, content: Content, blocks: BlockWriter) -> int:
    if content.size < BLOCK_SIZE:
        return blocks.add_small(contents.tail(content))
    return blocks.add_large(content.size, contents.pieces(content))
