"""The contents of a SIF file or a lock, gathered for a comparison."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sifmake.compare.packages import PackageLists, is_package_list
from sifmake.errors import SifError, SquashfsError
from sifmake.json_text import BeyondLimitError, parse_json
from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.sif import Sif, open_sif
from sifmake.squashfs.reader import FILE, Node, SquashfsReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LIST = "run `sifmake sif list` to see its objects"


@dataclass(frozen=True)
class ImageContents:
    """One side of a comparison.

    Attributes:
        layers: Digests, lowest first.
        settings: Env, Entrypoint, Cmd, User, ... of the image config.
        labels: Labels of the image.
        build: Build settings of a lock.
        lists: Collects the installed packages while the file system is read; None for locks.
        reader: Reads the file system.
    """

    layers: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    build: dict[str, Any] = field(default_factory=dict)
    lists: PackageLists | None = None
    reader: SquashfsReader | None = None

    def walk(self) -> Iterator[Node]:
        """Yield everything in the file system in ascending order of paths; read package lists on the way.

        Raises:
            SquashfsError: It is damaged, or exceeds a limit.
        """
        if self.reader is None or self.lists is None:
            return
        for node in self.reader.walk():
            if node.kind == FILE and is_package_list(node.path):
                self.lists.count(node.size)
                self.lists.read(node.path, _whole(self.reader, node))
            yield node

    @property
    def packages(self) -> dict[str, str]:
        """Versions by kind and name, as far as the file system has been read."""
        return self.lists.found if self.lists else {}


@contextmanager
def open_contents(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[ImageContents]:
    """Gather the contents of a SIF file; it stays open until the end of the block.

    Args:
        path: The file.
        limits: Bounds on the cost of reading.

    Raises:
        SifError: It is not a SIF file, its root file system is not a squashfs, or its documents are damaged.
        SquashfsError: The squashfs is damaged, has an unsupported compression, or exceeds a limit.
    """
    with open_sif(path) as sif:
        reader = _reader(sif, limits)
        documents = _Documents(sif, limits)
        config = documents.read("oci-config.json")
        settings = _object(config["config"]) if "config" in config else config
        yield ImageContents(
            layers=documents.layers(),
            settings={key: value for key, value in settings.items() if key != "Labels" and value},
            labels=documents.labels(),
            lists=PackageLists(limits, str(path)),
            reader=reader,
        )


@contextmanager
def open_reader(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[SquashfsReader]:
    """Yield a reader of a SIF file's root file system; raises the errors of :func:`open_contents`."""
    with open_sif(path) as sif:
        yield _reader(sif, limits)


def _reader(sif: Sif, limits: Limits) -> SquashfsReader:
    primary, name = sif.primary(), str(sif.path)
    if primary is None:
        raise SifError("the file has no root file system", where=name, hint=_LIST)
    try:
        return SquashfsReader(lambda size, at: sif.pread(primary, size, at), limits, name=name)
    except SquashfsError as error:
        what = f"the root file system cannot be read: {error.what}"
        raise SquashfsError(what, where=name, hint=error.hint or _LIST) from None


class _Documents:
    """The JSON documents of a SIF file."""

    def __init__(self, sif: Sif, limits: Limits) -> None:
        self._sif = sif
        self._where = str(sif.path)
        self._limits = limits

    def read(self, name: str) -> dict[str, Any]:
        """Return a document; empty if there is none or it is not an object."""
        for item in self._sif.find(name=name):
            data = self._sif.read(item, self._limits.config_bytes)
            try:
                return _object(parse_json(data))
            except BeyondLimitError as error:
                raise SifError(f"{name} is not read: it has {error} (a limit)", where=self._where, hint=_LIST) from None
            except ValueError as error:
                raise SifError(f"{name} is damaged ({error})", where=self._where, hint=_LIST) from None
        return {}

    def layers(self) -> tuple[str, ...]:
        """Return the digests of the image's layers."""
        items = self.read("oci-manifest.json").get("layers")
        layers = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        return tuple(str(layer["digest"]) for layer in layers if "digest" in layer)

    def labels(self) -> dict[str, str]:
        """Return the image's labels."""
        attributes = _object(_object(self.read("inspect-metadata.json").get("data")).get("attributes"))
        return {str(key): str(value) for key, value in _object(attributes.get("labels")).items()}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(reader: SquashfsReader, node: Node) -> bytearray:
    """Return the bytes of a file, without a second copy in memory."""
    data = bytearray()
    for chunk in reader.chunks(node):
        data += chunk
    return data
