"""Reading a whole image from a source, as a pull does, without making packs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sifmake.oci import parse_platform
from sifmake.registry import RetryPolicy
from sifmake.sources import SourceSettings, open_source
from sifmake.sources.base import name_note_key
from support.messages import Messages

NO_ENVIRONMENT = {"HOME": "/nonexistent"}
FAST = RetryPolicy(
    attempts=5, first_attempts=2, base=0.01, longest_pause=0.05, answer_timeout=60.0, stall_time=60.0, stall_bytes=1024
)
"""It tries again at once, and is patient with a server on a busy machine."""
HASTY = FAST._replace(answer_timeout=1.5, stall_time=1.5)
"""For servers that stall: what they send after that must still come in time on a busy machine."""


@dataclass(frozen=True)
class Pulled:
    """What came.

    Attributes:
        name: The source's.
        index_digest: What the reference stood for.
        image: Manifest, config and layers.
        blobs: The bytes of each layer.
        messages: What the progress was told.
    """

    name: str
    index_digest: str
    image: Any
    blobs: list[bytes]
    messages: Messages


def settings(**changes: Any) -> SourceSettings:
    """Return settings that see nothing of the machine and wait for nothing."""
    return SourceSettings(**{"environ": NO_ENVIRONMENT, "retry": FAST, **changes})


def pull(uri: str, platform: str = "linux/amd64", known: Any = None, **changes: Any) -> Pulled:
    """Read an image and check each layer's digest as the consumer of layers does."""
    messages = Messages()
    source = open_source(uri, settings(**{"progress": messages, **changes}))
    try:
        resolved = source.resolve(parse_platform(platform), known)
        image = source.image(resolved.manifest_digest)
        blobs = [read_layer(source, layer) for layer in image.layers]
    finally:
        source.close()
    return Pulled(source.name, resolved.digest, image, blobs, messages)


def read_layer(source: Any, layer: Any, size: int = 10_000) -> bytes:
    """Return a layer's bytes after checking size and digest."""
    with source.open_layer(layer) as reader:
        data = b"".join(iter(lambda: reader.read(size), b""))
    algorithm, _, hexes = layer.descriptor.digest.partition(":")
    assert len(data) == layer.descriptor.size
    assert hashlib.new(algorithm, data).hexdigest() == hexes, "digest"
    return data


class Memory:
    """What indexes led to, as the store keeps it.

    Args:
        met: Names that were asked for before, so that a HEAD comes first.
    """

    def __init__(self, *met: str) -> None:
        self.known = {(name_note_key(name), "linux/amd64"): f"sha256:{'0' * 64}" for name in met}

    def find_manifest(self, index_digest: str, platform: Any) -> str | None:
        return self.known.get((index_digest, str(platform)))

    def remember_manifest(self, index_digest: str, platform: Any, manifest_digest: str) -> None:
        self.known[index_digest, str(platform)] = manifest_digest
