"""What a SIF file or a lock says and holds, gathered for a comparison."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sifmake.errors import SifError, SquashfsError
from sifmake.json_text import parse_json
from sifmake.pipeline.packages import LARGEST_LIST, is_package_list, read_packages
from sifmake.ranges import read_at
from sifmake.sif import Sif, open_sif
from sifmake.squashfs.reader import FILE, Node, SquashfsReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_DOCUMENT = 16 << 20
LIST = "sifmake sif list shows what it has"


@dataclass(frozen=True)
class Contents:
    """One side of a comparison.

    Attributes:
        layers: Digests, lowest first.
        settings: Env, Entrypoint, Cmd, User, ... of the image config.
        labels: Labels of the image.
        build: Settings of the build that a lock holds.
        nodes: Everything in the file system by path; empty for locks.
        packages: Versions by kind and name.
        reader: Reads file contents.
    """

    layers: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)
    nodes: dict[bytes, Node] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    reader: SquashfsReader | None = None

    def digest(self, node: Node) -> bytes:
        """Return the SHA-256 of a file's bytes."""
        total = hashlib.sha256()
        for chunk in self.reader.chunks(node) if self.reader else ():
            total.update(chunk)
        return total.digest()


@contextmanager
def open_contents(path: Path) -> Iterator[Contents]:
    """Gather what a SIF file holds; it stays open while the block lasts.

    Raises:
        SifError: It is no SIF file, or its root file system is no squashfs.
        SquashfsError: The squashfs is damaged or compressed in another way.
    """
    with open_sif(path) as sif:
        reader = _reader(sif)
        nodes = {node.path: node for node in reader.walk()}
        config = _document(sif, "oci-config.json")
        settings = _object(config, "config") if "config" in config else config
        yield Contents(
            layers=_layers(_document(sif, "oci-manifest.json")),
            settings={key: value for key, value in settings.items() if key != "Labels" and value},
            labels=_labels(sif),
            nodes=nodes,
            packages=_packages(reader, nodes),
            reader=reader,
        )


@contextmanager
def open_reader(path: Path) -> Iterator[SquashfsReader]:
    """Give a reader of a SIF file's root file system while the block lasts; raises as :func:`open_contents`."""
    with open_sif(path) as sif:
        yield _reader(sif)


def _reader(sif: Sif) -> SquashfsReader:
    primary = sif.primary()
    if primary is None:
        raise SifError("there is no root file system in it", where=str(sif.path), hint=LIST)
    try:
        return SquashfsReader(lambda size, at: read_at(sif.fd, size, primary.offset + at))
    except SquashfsError as error:
        raise SquashfsError(
            f"the root file system cannot be read: {error.what}", where=str(sif.path), hint=LIST
        ) from None


def _document(sif: Sif, name: str) -> dict[str, Any]:
    for item in sif.find(name=name):
        try:
            value = parse_json(sif.read(item, MOST_DOCUMENT))
        except ValueError as error:
            raise SifError(f"{name} is damaged ({error})", where=str(sif.path), hint=LIST) from None
        return value if isinstance(value, dict) else {}
    return {}


def _object(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the object that keys lead to in a document that anyone may have written; an empty one without it."""
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _layers(manifest: dict[str, Any]) -> tuple[str, ...]:
    items = manifest.get("layers")
    layers = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return tuple(str(layer["digest"]) for layer in layers if "digest" in layer)


def _labels(sif: Sif) -> dict[str, str]:
    labels = _object(_document(sif, "inspect-metadata.json"), "data", "attributes", "labels")
    return {str(key): str(value) for key, value in labels.items()}


def _packages(reader: SquashfsReader, nodes: dict[bytes, Node]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, node in nodes.items():
        if node.kind == FILE and node.size <= LARGEST_LIST and is_package_list(path):
            found |= read_packages(path, b"".join(reader.chunks(node)))
    return found
